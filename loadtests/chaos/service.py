"""The service of a soak: what is done to it and looked at."""

from __future__ import annotations

import contextlib
import random
import re

import httpx2
import psutil

from cupola.loadtests.host.own_service import OwnService


class Service(OwnService):
    """With what the soak looks at and does to it."""

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, chance: random.Random) -> None:
        """Kill one of its processes."""
        with contextlib.suppress(psutil.Error):
            chance.choice(self.children()).kill()

    def open_files(self) -> int:
        """Descriptors of all its processes."""
        total = 0
        for each in [psutil.Process(self.process.pid), *self.children()]:
            with contextlib.suppress(psutil.Error):
                total += each.num_fds()
        return total

    def busy(self) -> float:
        """The requests that run or wait, as the service says."""
        text = httpx2.get(f"{self.url}/metrics", timeout=10).text
        found = re.findall(
            r"^cupola_num_requests_(?:running|waiting)(?:{.*})? ([\d.e+]+)", text, re.M
        )
        return sum(map(float, found))

    def memory_mb(self) -> int:
        total = 0
        for each in [psutil.Process(self.process.pid), *self.children()]:
            with contextlib.suppress(psutil.Error):
                total += each.memory_full_info().pss
        return total >> 20

    def counted(self) -> dict[str, int]:
        """What the service counted, by outcome."""
        text = httpx2.get(f"{self.url}/metrics", timeout=10).text
        found = re.findall(r'cupola_requests_total\{outcome="(\w+)"\} ([\d.e+]+)', text)
        return {outcome: round(float(count)) for outcome, count in found}

    def orphans(self) -> list[psutil.Process]:
        """Stop it. Returns its processes that are still there."""
        ours = self.children()
        self.stop()
        return psutil.wait_procs(ours, timeout=10)[1]
