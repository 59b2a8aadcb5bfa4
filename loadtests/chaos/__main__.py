"""Mixed load with kills, floods and aborts, and an account at the end: did every request end once?

    python -m loadtests.chaos --minutes 30
    python -m loadtests.chaos --minutes 10 --kills 0 --home FOLDER

Starts a service of its own on a free port, with a home of its own unless one is given (a home that
has the model spares the download). Apps of several kinds ask, leave early, read slowly, send what
is refused, load and unload; one sends floods. ``--kills`` processes of the service are ended with
SIGKILL meanwhile, at random. The account: how the requests of each kind ended, whether all that
were sent have ended, what still runs or waits when nobody asks any more, open files and processes
before and after, and the memory in every tenth of the time. Exits with 1 if something is left or a
request broke that no kill explains.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from cupola.loadtests.chaos.service import Service
from cupola.loadtests.chaos.soak import rest, soak


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--apps", type=int, default=12, help="apps at once")
    parser.add_argument("--kills", type=int, default=6, help="processes to kill meanwhile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a data folder that no service uses")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        temporary = Path(made, "temporary")  # nobody else's folders are in it
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        home = options.home or Path(made)
        service = Service(home, home)
        try:
            service.wait_until_ready()
            files = service.open_files()
            counts = soak(service, options.minutes * 60, options.apps, options.kills, options.seed)
            account, memory = asyncio.run(counts)
            service.wait_until_ready()
            busy = rest(service)
            files = service.open_files() - files
            counted = service.counted()
        finally:
            orphans = service.orphans()
        print("How the requests ended:")
        account.print()
        left = [*temporary.iterdir()]
        print(f"Sent: {account.sent}. Ended: {account.ended}. Still open: {account.open}.")
        print(f"Counted by the service since its scheduler started: {counted}")
        print(f"Requests that run or wait when nobody asks any more: {busy:.0f}")
        print(f"Open files more than before: {files}")
        print(f"Memory in every tenth of the time, MB: {memory}")
        print(f"Left behind: {len(orphans)} processes, {len(left)} folders")
        unexplained = account.count("broken") if options.kills == 0 else 0
        uneven = (
            account.sent - account.ended or account.open or busy or orphans or left or unexplained
        )
        sys.exit(1 if uneven else 0)


if __name__ == "__main__":
    main()
