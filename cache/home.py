"""Where Cupola keeps its data: Foundry Local's folders, or all of it under ``CUPOLA_HOME``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class Home:
    """The data folder's layout. Nothing is created here."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        return cls(Path.home() / ".foundry")

    @property
    def settings_file(self) -> Path:
        return self.root / "cupola.toml"

    @property
    def models(self) -> Path:
        return self.root / "cache" / "models"

    @property
    def downloads(self) -> Path:
        """Partial downloads and conversions; on the same file system as ``models``."""
        return self.root / "cache" / "tmp"

    @property
    def catalogs(self) -> Path:
        """Copies of the operator's catalogs that lie on servers."""
        return self.root / "cache" / "catalogs"

    @property
    def prepacked(self) -> Path:
        """What workers derive from models. The dot keeps it from being taken for a publisher."""
        return self.models / ".prepacked"

    @property
    def prefixes(self) -> Path:
        """Keys and values of earlier prompts. They are private: see ``workers/kv/prefix_files``."""
        return self.root / "cache" / "prefixes"

    @property
    def uses(self) -> Path:
        """Notes of when models were last in memory."""
        return self.root / "cache" / "uses"

    @property
    def foundry_catalog(self) -> Path:
        """Foundry Local's list of models; its SDKs read it."""
        return self.models / "foundry.modelinfo.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def daemon_file(self) -> Path:
        """Who serves, and where: read by clients to find the running service."""
        return self.root / "daemon.json"

    @property
    def api_keys(self) -> Path:
        """Who may use the service: digests of keys, and what each may do."""
        return self.root / "keys.json"

    @property
    def local_key(self) -> Path:
        """The key by which commands of the same user reach a service that demands keys."""
        return self.root / "local-key.json"

    def prepacked_folder(self, model: Path) -> Path:
        """Of a model's folder. Raises ValueError for one that does not lie in ``models``."""
        return self.prepacked / model.relative_to(self.models)

    def model_folder(self, publisher: str, model_id: str) -> Path:
        """``models/<publisher>/<name>-<version>``, the one place where a name becomes a path.

        Raises ValueError for names that could leave the folder.
        """
        folder = model_id.replace(":", "-")
        for part in (publisher, folder):
            if not _SAFE_NAME.fullmatch(part):
                raise ValueError(f"'{part}' cannot be a folder's name")
        return self.models / publisher / folder
