"""Which pages rows show: checked against rows that are simply lists of what was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.kv.page_table import MOST_OWNERS, Change, Copy, Free, PageTable, Show

ROWS, PAGES = 4, 6

rows = st.integers(0, ROWS - 1)
pages = st.integers(0, PAGES)
operations = st.lists(
    st.tuples(st.sampled_from(["share", "write", "write half"]), rows, rows, pages), max_size=30
)


class Memory:
    """Own pages of every row, and where each row looks."""

    def __init__(self) -> None:
        self.own = [[0] * PAGES for _ in range(ROWS)]
        self.owner = [[row] * PAGES for row in range(ROWS)]

    def make(self, changes: list[Change]) -> None:
        for change in changes:
            for page in range(change.first, change.end):
                if isinstance(change, Show):
                    self.owner[change.row][page] = change.owner
                elif isinstance(change, Free):
                    self.own[change.row][page] = -1
                else:
                    assert self.owner[change.source][page] == change.source
                    assert self.owner[change.target][page] == change.target
                    self.own[change.target][page] = self.own[change.source][page]

    def read(self, row: int, page: int) -> int:
        return self.own[self.owner[row][page]][page]


@given(operations)
def test_a_row_reads_what_was_written_to_it_or_shared_with_it(todo):
    table, memory = PageTable(ROWS, PAGES), Memory()
    expected = [[0] * PAGES for _ in range(ROWS)]
    known = [0] * ROWS  # pages of which the contents are wanted
    for stamp, (what, row, other, count) in enumerate(todo, 1):
        if what == "share" and row != other:
            shared, changes = table.share(row, other, min(count, known[row]))
            memory.make(changes)
            expected[other][:shared] = expected[row][:shared]
            known[other] = shared
        else:
            first = min(count, known[row])
            half = what == "write half" and first < known[row]
            memory.make(table.claim(row, first, keep=half))
            for page in range(first + half, PAGES):
                assert memory.owner[row][page] == row
                memory.own[row][page] = expected[row][page] = stamp
            known[row] = PAGES
        for each in range(ROWS):
            for page in range(known[each]):
                assert memory.read(each, page) == expected[each][page]
                owner = memory.owner[each][page]
                assert memory.owner[owner][page] == owner
        counts = dict(enumerate(known))
        distinct = {(memory.owner[r][p], p) for r in range(ROWS) for p in range(known[r])}
        assert table.saved(counts) == sum(known) - len(distinct)


def test_what_many_rows_show_is_copied_once():
    table = PageTable(4, 8)
    for reader in (1, 2, 3):
        table.share(0, reader, 5)
    changes = table.claim(0, 0)
    assert len([change for change in changes if isinstance(change, Copy)]) == 1
    assert table.saved({1: 5, 2: 5, 3: 5}) == 10
    assert [table.borrows(row, 0) for row in range(4)] == [False, False, True, True]
    assert not table.borrows(2, 5)


def test_a_row_has_few_owners():
    """Every change of owner cuts the mappings of a row in two."""
    table = PageTable(12, 12)
    for row in range(11):
        table.share(row, row + 1, row + 1)
    shared, _ = table.share(10, 11, 11)
    assert shared == MOST_OWNERS
