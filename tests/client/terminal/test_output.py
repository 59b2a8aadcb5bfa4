from __future__ import annotations

from cupola.client.terminal.output import Column, plain_table


def test_columns_are_two_spaces_apart_and_as_wide_as_their_widest_cell() -> None:
    columns = [Column("Alias", 9), Column("Device"), Column("Model ID")]
    rows = [["a", "CPU", "x:1"], ["a-longer-one", "GPU", "y"]]
    assert plain_table(columns, rows) == [
        "Alias         Device  Model ID",
        "------------------------------",
        "a             CPU     x:1",
        "a-longer-one  GPU     y",
    ]


def test_the_least_width_counts_and_the_rule_can_be_left_out() -> None:
    assert plain_table([Column("A", 6), Column("B")], [["1", "2"]], rule=False) == [
        "A     B",
        "1     2",
    ]
