"""What is written for people: numbers, tables, plots, hindrances, the commands of peers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.loadtests.host import machine, peers
from cupola.loadtests.host.own_service import DidNotStart
from cupola.loadtests.load.results import End, Objective, Record
from cupola.loadtests.report.markdown import number, table
from cupola.loadtests.report.run_page import Sample, run_page, sample
from cupola.loadtests.report.svg import Line, plot

SVG = "{http://www.w3.org/2000/svg}"


NUMBERS = {
    0: "0",
    1234.5: "1,234",
    99.96: "100",
    1.234: "1.23",
    0.01234: "0.0123",
    math.nan: "-",
}
PEER_FILES = (
    "model/small.Q8_0.gguf",
    "model/small.Q4_1.gguf",
    "foundry/data/x",
    "foundry/venv/bin/python",
    "llama/build/bin/llama-server",
    "openvino/bin/python",
)


@pytest.mark.parametrize(("value", "text"), NUMBERS.items())
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_a_cell_does_not_break_its_table() -> None:
    assert table(["a"], [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |"


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats() | st.floats(0, 1e6)), max_size=6))
def test_a_plot_is_well_formed_and_keeps_its_points_inside(
    points: list[tuple[float, float]],
) -> None:
    drawn = ElementTree.fromstring(
        plot("a < b", "x & y", "z", [Line("one", [p for p in points if not p[1] < 0], marks=True)])
    )
    dots = drawn.findall(f"{SVG}circle")
    assert len(dots) == sum(0 <= y < 1e15 for _, y in points)
    width, height = map(float, drawn.attrib["viewBox"].split()[2:])
    for dot in dots:
        assert 0 <= float(dot.attrib["cx"]) <= width and 0 <= float(dot.attrib["cy"]) <= height


def test_the_machine_is_described_and_its_hindrances_are_told() -> None:
    facts = machine.describe()
    assert facts["processor"] and facts["onnxruntime"][0].isdigit()
    assert 0 <= machine.busy_share(0.01) <= 1
    assert machine.hindrances(0.05, {"plugged": None}) == []
    busy, battery = machine.hindrances(0.5, {"plugged": False})
    assert "50%" in busy and "battery" in battery


def test_a_peer_is_started_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match=peers.VARIABLE):
        peers.folder({})
    with pytest.raises(DidNotStart, match="no GGUF"):
        peers.command("llama-q8_0", tmp_path, 1, 2)
    for path in PEER_FILES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for name in ("llama-q8_0", "foundry", "openvino"):
        command = peers.command(name, tmp_path, 5411, 2)
        assert "5411" in command and Path(command[0]).is_file()
        assert all(Path(word).exists() for word in command if "/" in word)
    with pytest.raises(DidNotStart, match="llama-q8_0, llama-q4_0"):
        peers.command("nobody", tmp_path, 1, 2)


METRICS = """# TYPE cupola_num_requests_waiting gauge
cupola_num_requests_waiting 3
cupola_worker_memory_bytes{worker="cpu:0/0"} 1048576
cupola_worker_memory_bytes{worker="cpu:0/1"} 2097152
"""


def test_queue_and_memory_are_read_from_the_metrics() -> None:
    assert sample(METRICS, 5.0) == Sample(5.0, 3.0, 3 * 2**20)
    assert sample("vllm:num_requests_waiting 3\n", 5.0) is None


@pytest.mark.parametrize("samples", [0, 5])
def test_the_page_of_a_run_has_its_plots(samples: int) -> None:
    records = [
        Record("chat", 100.0 + n, End.OK if n % 5 else End.ERROR, 3.0, ttft=0.5, gaps=[0.1],
               tokens=9, error=None if n % 5 else "a < b")
        for n in range(20)
    ]  # fmt: skip
    told = [Sample(100.0 + n, n, 2**30) for n in range(samples)]
    found = run_page(records, told, Objective(1, 1), ["two <cores>"])
    assert "two &lt;cores&gt;" in found
    assert found.count("<svg") == (5 if samples else 4)
    assert "Goodput" in found and "4 x a &lt; b" in found
    assert "<th>abort</th><th>cut</th>" in found and "TTFT up to 1000 ms" in found
    drawings = re.findall("<svg.*?</svg>", found, re.DOTALL)
    assert all(ElementTree.fromstring(each) is not None for each in drawings)
    assert "No request" in run_page([], [], Objective(1, 1))
