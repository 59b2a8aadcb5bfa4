"""Damaged and hostile files: each is refused with a clear error, quickly and in little memory."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.formats.gguf_tensor import GgufTensor
from cupola.cache.convert.sources import open_source, read_decoder
from cupola.cache.convert.tokenizer.tokenizer_files import TokenizerFiles
from cupola.cache.convert.weights.decoder_weights import Projection
from cupola.cache.errors import BrokenFileError, ModelFileError, UnsupportedError
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.convert.tiny_gguf import TinyModel
from tests.examples import examples

HUGE = 1 << 62


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return TinyModel().write(tmp_path_factory.mktemp("gguf") / "m.gguf").read_bytes()


@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.F16])
def test_tensors_are_what_was_written(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    model = TinyModel(kind=kind)
    read = GgufFile(model.write(tmp_path / "m.gguf")).tensors
    for name, values in model.tensors().items():
        assert read[name].shape == values.shape
        rows = read[name].rows().reshape(values.shape)
        np.testing.assert_allclose(rows, values, rtol=2e-3, atol=1e-4)
    part = read["token_embd.weight"].rows(3, 5)
    np.testing.assert_array_equal(part, read["token_embd.weight"].rows()[3:5])


@pytest.mark.parametrize("kind", GGMLQuantizationType)
def test_a_type_is_read_or_named(kind: GGMLQuantizationType) -> None:
    block, size = GGML_QUANT_SIZES[kind]
    tensor = GgufTensor("w", (2, block), kind, np.zeros((2, size), np.uint8))
    try:
        assert tensor.rows().shape == (2, block)
    except UnsupportedError as error:
        assert f"'w' is of the type {kind.name}," in str(error) and "\n" not in str(error)
        assert kind.name in ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64", "Q1_0")


def test_metadata_by_type(tmp_path: Path) -> None:
    file = GgufFile(TinyModel().write(tmp_path / "m.gguf"))
    assert file.get("llama.block_count", int) == 2
    assert file.get("llama.block_count", float) == 2.0
    assert file.get("no.such.key", int, 7) == 7
    with pytest.raises(BrokenFileError, match=r"lacks the metadata 'no\.such\.key'"):
        file.get("no.such.key", int)
    with pytest.raises(BrokenFileError, match="a str, not a int"):
        file.get("general.architecture", int)


def test_every_truncation_is_refused(sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for length in (*range(0, 600, 7), *range(600, len(sound), len(sound) // 50)):
        path.write_bytes(sound[:length])
        with pytest.raises(BrokenFileError):
            GgufFile(path)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 9000), value=st.binary(min_size=1, max_size=9))
def test_no_byte_leads_to_another_error(
    at: int, value: bytes, sound: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(sound[:at] + value + sound[at + len(value) :])
    try:
        file = GgufFile(path)
        _, weights = read_decoder(file)
        TokenizerFiles(file, weights.shape.vocabulary).tokenizer_config()
        for layer in range(weights.shape.layers):
            for which in Projection:
                weights.projection(layer, which).column_peaks()
    except ModelFileError:
        pass


LARGE = [0, 1, 1 << 31, (1 << 32) - 1, 1 << 60, 1 << 63, (1 << 64) - 1]
NUMBERS = [struct.pack("<Q", number) for number in LARGE]
NUMBERS += [struct.pack("<f", number) for number in (math.nan, math.inf, -1.0, 0.0, 1e38, 1e-38)]
ODD_FAMILIES = ("gemma3", "phi4-mini", "granite")


@pytest.fixture(scope="module")
def of_families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("families")
    return {
        name: FAMILIES[name].write_gguf(folder / f"{name}.gguf").read_bytes()
        for name in ODD_FAMILIES
    }


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(ODD_FAMILIES), at=st.integers(4, 9000), value=st.sampled_from(NUMBERS))
def test_no_number_in_a_header_leads_to_another_error(
    name: str, at: int, value: bytes, of_families: dict[str, bytes], tmp_path: Path
) -> None:
    path, sound = tmp_path / "m.gguf", of_families[name]
    path.write_bytes(sound[:at] + value + sound[at + len(value) :])
    try:
        source = open_source(path)
        source.tokenizer.tokenizer_config()
        assert len(source.weights.shape.attentions) == source.weights.shape.layers
    except ModelFileError as error:
        assert "\n" not in str(error)


def header(*, version: int = 3, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def entry(kind: GGUFValueType, value: bytes) -> bytes:
    return text(b"k") + struct.pack("<I", kind) + value


def array(kind: GGUFValueType, count: int) -> bytes:
    return entry(GGUFValueType.ARRAY, struct.pack("<IQ", kind, count))


def tensor(shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    sizes = b"".join(struct.pack("<Q", size) for size in shape)
    return text(b"t") + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"PK\x03\x04" + bytes(40), BrokenFileError, "does not begin with 'GGUF'"),
        (b"GGUF", BrokenFileError, "only 4 bytes"),
        (header(version=1), UnsupportedError, "version 1"),
        (header(version=3 << 24), UnsupportedError, "big-endian"),
        (header(tensors=HUGE), BrokenFileError, "claims .* tensors"),
        (header(keys=HUGE), BrokenFileError, "claims .* metadata keys"),
        (header(keys=1, rest=text(b"", HUGE)), BrokenFileError, "claims .* bytes of text"),
        (header(keys=1, rest=text(b"", 60000)), BrokenFileError, "ends in the middle"),
        (header(keys=1, rest=entry(GGUFValueType.STRING, text(b"\xff"))), BrokenFileError, "UTF-8"),
        (header(keys=1, rest=text(b"k") + b"\x63\0\0\0"), BrokenFileError, "unknown type 99"),
        (header(keys=1, rest=array(GGUFValueType.UINT8, HUGE)), BrokenFileError, "elements"),
        (header(keys=1, rest=array(GGUFValueType.UINT8, 99)), BrokenFileError, "in the middle"),
        (header(keys=1, rest=array(GGUFValueType.ARRAY, 1)), UnsupportedError, "arrays of arrays"),
        (header(keys=2, rest=entry(GGUFValueType.BOOL, b"\1") * 2), BrokenFileError, "'k'.*twice"),
        (header(tensors=1, rest=tensor((HUGE,))), BrokenFileError, "shape"),
        (header(tensors=1, rest=tensor((0,))), BrokenFileError, "shape"),
        (header(tensors=1, rest=tensor((2,) * 5)), BrokenFileError, "5 dimensions"),
        (header(tensors=1, rest=tensor((32,), kind=77)), UnsupportedError, "type 77"),
        (header(tensors=1, rest=tensor((31,), kind=8)), BrokenFileError, "whole Q8_0 blocks"),
        (header(tensors=1, rest=tensor((32,), offset=HUGE)), BrokenFileError, "cut off"),
        (header(tensors=2, rest=tensor((1,)) * 2 + bytes(64)), BrokenFileError, "'t'.*twice"),
    ],
)
def test_hostile_headers(
    content: bytes, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        GgufFile(path)
