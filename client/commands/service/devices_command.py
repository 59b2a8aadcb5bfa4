"""``cupola devices``: what this machine can run models on. No service is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from cupola.client.errors import ClientError
from cupola.client.terminal.output import Column, Form, Output, print_json, print_table

_REPORT = (sys.executable, "-m", "cupola.workers.device.report")


def devices(output: Output = Form.TEXT) -> None:
    """List the execution providers, their devices, and what those need that do not work.

    Each installed provider is tried, which takes seconds.

    Example: cupola devices
    """
    done = subprocess.run(_REPORT, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ClientError(f"The providers cannot be tried: {reason}", "To report it: cupola report")
    found = json.loads(done.stdout)
    if output is Form.JSON:
        print_json({"providers": found})
        return
    rows = [
        [
            each["provider"].removesuffix("ExecutionProvider"),
            each["workers"] or "-",
            "works" if each["works"] else "-",
            "; ".join(map(_device, each["devices"])) or "-",
            _why(each),
        ]
        for each in found
    ]
    titles = [Column("Provider"), Column("In 'workers'"), Column("State"), Column("Devices")]
    print_table([*titles, Column("Why not, and what would help", is_prose=True)], rows)


def _device(device: dict[str, Any]) -> str:
    facts = [device["name"]]
    if cores := device.get("cores"):
        facts.append(f"{cores} cores")
    if memory := device.get("memory_bytes"):
        facts.append(f"{memory / 2**30:.0f} GiB")
    return ", ".join([*facts, *device.get("instruction_sets", [])])


def _why(entry: dict[str, Any]) -> str:
    return "; ".join(filter(None, (entry["problem"], entry["package"])))
