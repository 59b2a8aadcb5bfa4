"""A row has the same bits however wide it is, wherever it is cut, and whatever is beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.exactness import required_doubling
from cupola.workers.run.packing import Doubling, Row, fill, pack
from tests.workers.reference import DATA

WIDTH = 140  # more than four tiles of queries in attention
TEXT = [(7 * place * place + place) % 250 for place in range(WIDTH)]


@cache
def session(name: str) -> DecoderSession:
    return DecoderSession(ModelFolder.read(DATA / name), slots=3, width=WIDTH, threads=2)


@pytest.fixture(params=["builder-fp32", "builder-int4", "gemma2-int4", "mistral-fp32"])
def model(request: pytest.FixtureRequest) -> DecoderSession:
    return session(request.param)


def row(start: int, end: int, logits: int = 1, slot: int = 0) -> Row:
    return Row(slot, start, TEXT[start:end], logits, reproducible=True)


@pytest.mark.slow
def test_chunks_of_any_width_end_with_the_bits_of_single_tokens(model: DecoderSession) -> None:
    """Also those that leave one query alone in a tile of the attention."""
    single = np.stack([model.run([row(n, n + 1)])[0].copy() for n in range(WIDTH)])
    for end in range(1, WIDTH + 1):
        assert np.array_equal(model.run([row(0, end)])[0], single[end - 1]), end
    for start in range(0, WIDTH, 9):
        model.run([row(0, max(start, 1), 0)])
        rest = WIDTH - start
        assert np.array_equal(model.run([row(start, WIDTH, rest)]), single[start:]), start


def test_neighbours_change_no_bit(model: DecoderSession) -> None:
    chance = np.random.default_rng(3)
    expected = model.run([row(0, WIDTH, WIDTH)]).copy()
    for _ in range(30):
        model.run([row(0, 60, 0)])
        ends = chance.integers(1, 70, 2).tolist()
        others = [
            replace(row(0, end, 1, slot), reproducible=bool(chance.integers(2)))
            for slot, end in enumerate(ends, 1)
        ]
        count = int(chance.integers(1, 40))
        mine = row(60, 60 + count, count)
        rows = [others[0], mine, others[1]]
        logits = model.run(rows)[1 : 1 + count]
        assert np.array_equal(logits, expected[60 : 60 + count])
        # So do the keys and values that it has left.
        logits = model.run([row(60 + count, 61 + count)])
        assert np.array_equal(logits[0], expected[60 + count])


def test_rows_that_do_not_ask_are_packed_as_if_there_were_no_doubling() -> None:
    rows = [Row(1, 5, [7], 1), Row(0, 3, [8, 9], 1)]
    for doubling in Doubling:
        inputs = pack(rows, range(2), doubling)
        fill(inputs, rows, range(2), 0, doubling)
        plain = pack(rows, range(2))
        fill(plain, rows, range(2), 0)
        assert inputs.keys() == plain.keys()
        assert all(np.array_equal(inputs[name], plain[name]) for name in plain)


def test_the_last_token_of_a_row_that_asks_is_on_the_grid_twice() -> None:
    rows = [Row(1, 5, [7], 1, reproducible=True), Row(0, 3, [8, 9], 1)]
    inputs = pack(rows, range(2), Doubling.QUERIES)
    fill(inputs, rows, range(2), 0, Doubling.QUERIES)
    assert inputs["input_ids"].tolist() == [[7, 8, 9]]
    assert inputs["query_seqlens"].tolist() == [2, 2]
    assert inputs["seqlens_k"].tolist() == [4, 6]
    assert inputs["grid"][..., 1].tolist() == [[1, 2], [0, 0]]
    assert inputs["ungrid"].tolist() == [[[1, 0], [0, 0], [0, 1]]]
    assert inputs["last"].tolist() == [0, 2]
    inputs = pack(rows, range(2), Doubling.TOKENS)
    fill(inputs, rows, range(2), 0, Doubling.TOKENS)
    assert inputs["input_ids"].tolist() == [[7, 8, 9, 9]]
    assert inputs["position_ids"].tolist() == [[5, 3, 4, 4]]
    assert inputs["ungrid"].tolist() == [[[1, 0], [0, 0], [0, 1], [0, 1]]]
    assert inputs["last"].tolist() == [0, 2, 2]


class Depends:
    """A runner whose logits depend on what is computed alone: a query, or a whole run."""

    vocabulary = 16

    def __init__(self, depends: Callable[[Row, int, Doubling], bool]) -> None:
        self.cache = session("builder-fp32").cache
        self.depends, self.doubling = depends, Doubling.NOTHING

    def run(self, rows: list[Row], logits: np.ndarray) -> float:
        total = sum(len(row.tokens) for row in rows)
        wanted = [(row, token) for row in rows for token in row.tokens[-row.logits :]]
        for place, (one, token) in enumerate(wanted):
            logits[place] = token + 0.5 * self.depends(one, total, self.doubling)
        return 1.0


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize(
    ("depends", "required"),
    [
        (lambda row, total, doubling: False, Doubling.QUERIES),
        (
            lambda row, total, doubling: total == 1 and doubling is not Doubling.TOKENS,
            Doubling.TOKENS,
        ),
        (lambda row, total, doubling: row.past > 0, Doubling.NOTHING),
    ],
)
def test_the_least_that_holds_is_required(
    depends: Callable[[Row, int, Doubling], bool], required: Doubling, slots: int
) -> None:
    runner = Depends(depends)
    assert required_doubling(runner, slots) is required  # type: ignore[arg-type]
    assert runner.doubling is Doubling.NOTHING


def test_a_graph_with_experts_says_that_it_is_not_reproducible() -> None:
    """Whether one token is alone with its expert depends on the others."""
    assert session("gpt-oss-fp32").serving.reproducible is False
    assert session("builder-fp32").serving.reproducible is True
