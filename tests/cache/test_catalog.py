from pathlib import Path

import msgspec
import pytest

from cupola.cache.catalog import (
    BUILT_IN,
    SMOLLM2_135M,
    SMOLLM2_135M_INT4,
    SMOLLM2_135M_W8A8,
    Catalog,
    UnknownModelError,
)
from cupola.cache.home import Home
from cupola.cache.system.processor import IntegerProducts, integer_products_of


def variants(*ids: str) -> Catalog:
    return Catalog(msgspec.structs.replace(SMOLLM2_135M, id=name, alias="m") for name in ids)


def test_order_is_foundry_locals() -> None:
    ids = ["m-qnn-npu:1", "m-cuda-gpu:2", "m-cuda-gpu:1", "m-generic-gpu:9", "m-cpu:1"]
    ids += ["m-generic-cpu:10", "m-generic-cpu:9", "m-other:1"]
    assert [variant.id for variant in variants(*reversed(ids)).find("M")] == ids


def test_names_go_before_aliases() -> None:
    catalog = variants("m-generic-cpu:1", "m-generic-cpu:2")
    assert [v.id for v in catalog.find("m-generic-cpu:1")] == ["m-generic-cpu:1"]
    assert [v.version for v in catalog.find("M-Generic-CPU")] == [2, 1]
    with pytest.raises(UnknownModelError, match=r"No model is called 'x'$"):
        catalog.find("x")


@pytest.mark.parametrize("integers", [True, False])
def test_w8a8_is_for_processors_with_integer_products(integers: bool) -> None:
    catalog = Catalog(BUILT_IN, integers)
    best = [SMOLLM2_135M_W8A8, SMOLLM2_135M] if integers else [SMOLLM2_135M, SMOLLM2_135M_W8A8]
    assert catalog.find("smollm2-135m") == [*best, SMOLLM2_135M_INT4]
    assert catalog.find("smollm2-135m-instruct-w8a8-cpu:1") == [SMOLLM2_135M_W8A8]


@pytest.mark.parametrize(
    ("cpu_info", "quick", "saturate"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\n", True, True),
        ("processor\t: 0\nflags\t\t: fpu sse2 sse4_1\n", False, True),
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_vnni\n", True, False),
        ("flags\t\t: avx2 avx_vnni\n", True, False),
        ("flags\t\t: amx_tile amx_int8\n", True, False),
        ("model name\t: avx512_vnni\nflags\t\t: avx2\n", True, True),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", False, False),
        ("", False, False),
    ],
)
def test_processors(cpu_info: str, quick: bool, saturate: bool) -> None:
    assert integer_products_of(cpu_info) == IntegerProducts(quick, saturate)


def test_built_in_variants_can_be_stored() -> None:
    for variant in BUILT_IN:
        assert variant.source is not None
        assert variant.version >= 1
        Home(Path("home")).model_folder(variant.publisher, variant.id)


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "a\\b", "-x", "a b", "x" * 300, "nul\0"])
def test_names_cannot_leave_the_home(part: str) -> None:
    home = Home(Path("home"))
    with pytest.raises(ValueError, match="cannot be a folder's name"):
        home.model_folder(part, "m:1")
    with pytest.raises(ValueError, match="cannot be a folder's name"):
        home.model_folder("publisher", part)


def test_a_version_becomes_a_part_of_the_folders_name() -> None:
    home = Home(Path("home"))
    assert home.model_folder("p", "m-cpu:3") == Path("home/cache/models/p/m-cpu-3")
    assert home.downloads.parent == home.models.parent  # a rename between them is atomic
