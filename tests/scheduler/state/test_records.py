"""What the scheduler sends, before it is sent."""

from __future__ import annotations

from cupola.scheduler.protocol.messages import Done, Outputs
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.state.records import Send, joined


def outputs(gateway: bytes, *texts: str) -> Send:
    return Send(gateway, Outputs(tuple(Output("r", text) for text in texts)))


def test_outputs_that_go_to_a_gateway_one_after_the_other_are_one_message() -> None:
    done = Send(b"a", Done("d"))
    sends = [
        outputs(b"a", "1", "2"),
        outputs(b"a", "3"),
        outputs(b"b", "4"),
        outputs(b"a", "5"),
        done,
        done,
        outputs(b"a", "6"),
        outputs(b"a", "7"),
    ]
    assert joined(sends) == [
        outputs(b"a", "1", "2", "3"),
        outputs(b"b", "4"),
        outputs(b"a", "5"),
        done,
        done,
        outputs(b"a", "6", "7"),
    ]
