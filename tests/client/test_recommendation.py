import msgspec
import pytest

from cupola.cache.catalog import (
    SMOLLM2_135M,
    SMOLLM2_135M_INT4,
    SMOLLM2_135M_W8A8,
    Catalog,
    ExecutionProvider,
    ModelVariant,
)
from cupola.cache.catalog_file import built_in
from cupola.cache.system.instruction_sets import instruction_sets
from cupola.client.recommendation import Machine, needed_mb, recommended, why


@pytest.mark.parametrize("memory", [2_000, 4_000, 8_000, 16_000, 64_000])
@pytest.mark.parametrize("cores", [1, 4, 16])
def test_what_is_recommended_fits(memory: int, cores: int) -> None:
    machine = Machine(memory, cores)
    best = recommended(built_in(), machine)
    assert best is not None
    assert needed_mb(best) <= memory * 0.8
    assert "chat" in best.tags and best.license in ("apache-2.0", "mit")
    larger = recommended(built_in(), Machine(memory * 2, cores * 2))
    assert larger is not None
    assert ("tools" in larger.tags, larger.billions) >= ("tools" in best.tags, best.billions)


def test_nothing_is_recommended_where_nothing_fits() -> None:
    assert recommended(built_in(), Machine(100)) is None


def test_unknown_memory_refuses_nothing() -> None:
    assert all(Machine(0).fits(variant) for variant in built_in())


CUDA = msgspec.structs.replace(
    SMOLLM2_135M, id="smollm2-135m-instruct-cuda-gpu:1", provider=ExecutionProvider.CUDA
)


GET = f"cupola model download {SMOLLM2_135M.id}"


def verdicts(cached: set[str], providers: set[ExecutionProvider], integers: bool) -> list[str]:
    variants: list[ModelVariant] = [CUDA, SMOLLM2_135M, SMOLLM2_135M_W8A8, SMOLLM2_135M_INT4]
    ordered = Catalog(variants, integers).find("smollm2-135m")
    machine = Machine(8000, 4, integers, ("AVX2",))
    first, *lines = why(ordered, machine, cached, providers)
    assert first.startswith("this machine: 4 cores, AVX2, 8 GB of memory; it can run: cpu")
    return lines


def test_a_variant_on_the_disk_is_taken_before_a_better_one() -> None:
    lines = verdicts({SMOLLM2_135M_W8A8.id}, {ExecutionProvider.CPU}, integers=False)
    assert [line.partition(";")[0].partition(": ")[2] for line in lines] == [
        "not taken",
        "not taken",
        "taken",
        "not taken",
    ]
    assert "this machine has no CUDAExecutionProvider" in lines[0]
    assert f"it would go first, but what is on this disk does; to have it: {GET}" in lines[1]
    assert "it is the best of those on this disk" in lines[2] and "no AVX2, VNNI or AMX" in lines[2]
    assert "it comes after the one that is taken" in lines[3]


def test_without_any_on_the_disk_the_best_is_taken() -> None:
    both = {ExecutionProvider.CPU, ExecutionProvider.CUDA}
    assert "taken; none is on this disk" in verdicts(set(), both, integers=True)[0]
    lines = verdicts(set(), {ExecutionProvider.CPU}, integers=True)
    assert lines[1].startswith(f"{SMOLLM2_135M_W8A8.id}: taken; ")
    assert "multiply integers quickly: this one does" in lines[1]


@pytest.mark.parametrize("sets", [("AVX2",), ("VNNI", "AVX-512", "AVX2")])
def test_four_bits_are_praised_only_where_they_are_faster(sets: tuple[str, ...]) -> None:
    machine = Machine(8000, 4, integers=True, instruction_sets=sets)
    cpu = {ExecutionProvider.CPU}
    *_, line = why([SMOLLM2_135M_W8A8, SMOLLM2_135M_INT4], machine, set(), cpu)
    assert ("1.2 times" in line) is ("VNNI" not in sets)
    assert ("to use it, name its id" in line) is ("VNNI" not in sets)


def test_nobody_is_told_to_name_what_is_taken() -> None:
    machine = Machine(8000, 4, integers=True, instruction_sets=("AVX2",))
    _, line = why([SMOLLM2_135M_INT4], machine, set(), {ExecutionProvider.CPU})
    assert "1.2 times" in line and "name its id" not in line


@pytest.mark.parametrize(
    ("flags", "sets"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8", ("AMX", "VNNI", "AVX-512", "AVX2")),
        ("vendor_id : x\nflags : avx avx2 avx_vnni", ("VNNI", "AVX2")),
        ("Features\t: fp asimd asimddp", ("dot products",)),
        ("flags : sse2", ()),
        ("arm64 something", ()),
    ],
)
def test_instruction_sets_by_the_systems_flags(flags: str, sets: tuple[str, ...]) -> None:
    assert instruction_sets(flags) == sets
