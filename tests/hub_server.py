"""The hub on loopback: its API and its storage, in the shapes that the real one answers with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from tests.faulty_server import Request, Site

COMMIT = "5f1d8a2e6c7b9d0e1f2a3b4c5d6e7f8091a2b3c4"
_PAGE = 3  # entries of a listing: so few that every test turns pages
_LARGE = (".gguf", ".onnx", ".data", ".safetensors", ".bin")


class HubServer:
    """Repositories by name, each with files by path. ``storage`` is another server."""

    def __init__(self, site: Site, storage: Site) -> None:
        self.site = site
        self.storage = storage
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.architectures: dict[str, str] = {}
        self.gated: set[str] = set()
        self.token = ""  # what opens gated repositories

    @property
    def url(self) -> str:
        return self.site.url

    def add(self, name: str, files: dict[str, bytes], architecture: str = "") -> None:
        """A repository with the revisions "main", "v1" and its commit."""
        self.repositories[name] = files
        self.architectures[name] = architecture
        self.site.answers["/api/models"] = self._search
        for revision in ("main", "v1", COMMIT):
            self.site.answers[f"/api/models/{name}/revision/{revision}"] = self._info
            self.site.answers[f"/api/models/{name}/tree/{revision}"] = self._tree
        for path, content in files.items():
            self.site.answers[f"/{name}/resolve/{COMMIT}/{path}"] = self._resolve
            self.storage.files[f"/{hashlib.sha256(content).hexdigest()}?signature=s3cret"] = content

    def _info(self, request: Request) -> None:
        name = "/".join(request.path.split("/")[3:5])
        if self._is_open(name, request, listing=True):
            gguf = {"architecture": self.architectures[name], "total": 1000}
            config = {"model_type": _model_type(self.repositories[name].get("config.json", b""))}
            self._json(
                request,
                {
                    "_id": "6723f2f0", "id": name, "modelId": name, "sha": COMMIT,
                    "private": False, "gated": "auto" if name in self.gated else False,
                    "disabled": False, "downloads": 12, "likes": 3, "library_name": "gguf",
                    "tags": ["gguf", "license:apache-2.0", "region:us"],
                    "siblings": [{"rfilename": path} for path in self.repositories[name]],
                }
                | ({"gguf": gguf} if self.architectures[name] else {})
                | ({"config": config} if config["model_type"] else {}),
            )  # fmt: skip

    def _tree(self, request: Request) -> None:
        name = "/".join(request.path.split("/")[3:5])
        start = int(parse_qs(urlsplit(request.path).query).get("cursor", ["0"])[0])
        entries = [_entry(path, content) for path, content in self.repositories[name].items()]
        folders = {path.rpartition("/")[0] for path in self.repositories[name]} - {""}
        entries += [{"type": "directory", "oid": "0", "size": 0, "path": each} for each in folders]
        end = start + _PAGE
        here = f"{self.url}{request.path.partition('?')[0]}?recursive=true"
        link = {"Link": f'<{here}&cursor={end}>; rel="next"'} if end < len(entries) else {}
        self._json(request, entries[start:end], link)

    def _resolve(self, request: Request) -> None:
        owner, name, _, _, path = unquote(request.path).strip("/").split("/", 4)
        name = f"{owner}/{name}"
        if not self._is_open(name, request, listing=False):
            return
        content = self.repositories[name][path]
        if not path.endswith(_LARGE):
            request.give(content, etag=f'"{_git_sha1(content)}"')
            return
        digest = hashlib.sha256(content).hexdigest()
        headers = {
            "Content-Length": "0",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{digest}"',
            "Location": f"{self.storage.url}/{digest}?signature=s3cret",
        }
        request.answer(302, headers)

    def _search(self, request: Request) -> None:
        query = parse_qs(urlsplit(request.path).query)
        word, kind = query["search"][0].casefold(), query["filter"][0]
        found = [
            {"_id": "1", "id": name, "likes": 3, "downloads": 10 + number, "private": False,
             "tags": [kind, "license:mit"], "pipeline_tag": "text-generation"}
            for number, (name, files) in enumerate(self.repositories.items())
            if word in name.casefold() and any(path.endswith(f".{kind}") for path in files)
        ]  # fmt: skip
        self._json(request, found[: int(query["limit"][0])])

    def _is_open(self, name: str, request: Request, listing: bool) -> bool:
        """Gated repositories are listed for everybody, and their files are not given."""
        if name not in self.gated or listing:
            return True
        if request.headers.get("Authorization") == f"Bearer {self.token}":
            return True
        status = 403 if "Authorization" in request.headers else 401
        refuse(request, status, "GatedRepo", f"Access to model {name} is restricted.")
        return False

    @staticmethod
    def _json(request: Request, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        kind = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
        request.answer(200, kind | (headers or {}), body)


def refuse(request: Request, status: int, code: str, message: str) -> bool:
    """An error as the hub gives it."""
    body = json.dumps({"error": message}).encode()
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Length": str(len(body))}
    request.answer(status, headers, body)
    return True


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, object]:
    if not path.endswith(_LARGE):
        size = len(content)
        return {"type": "file", "oid": _git_sha1(content), "size": size, "path": path}
    pointer = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    entry = {"type": "file", "oid": "0" * 40, "size": len(content), "path": path, "lfs": pointer}
    return entry | {"xetHash": "1" * 64}


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A hub without repositories; it refuses unknown ones as the real one does."""
    with Site() as site, Site() as storage:
        yield HubServer(site, storage)


def _model_type(config: bytes) -> str:
    """As the hub reads it of a repository's config.json."""
    try:
        return str(json.loads(config)["model_type"])
    except (ValueError, KeyError, TypeError):
        return ""
