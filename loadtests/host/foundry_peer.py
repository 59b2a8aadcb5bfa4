"""Foundry Local serving a model of its own cache, to be measured.

    foundry_peer.py DATA_FOLDER PORT

It runs in an environment of its own, with foundry-local-sdk 2. The cached list of models is made
fresh first: Foundry Local would ask the network for an old one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from foundry_local_sdk import Configuration, FoundryLocalManager, LogLevel


def main() -> None:
    data, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    listed = data / "cache" / "models" / "foundry.modelinfo.json"
    info = json.loads(listed.read_text("utf-8"))
    listed.write_text(json.dumps(info | {"savedAtUnix": int(time.time())}), encoding="utf-8")
    os.environ.update(ORT_TELEMETRY_DISABLED="1", HOME=str(data.parent))
    FoundryLocalManager.initialize(
        Configuration(
            app_name="peer",
            app_data_dir=str(data),
            log_level=LogLevel.WARNING,
            web=Configuration.WebService(urls=f"http://127.0.0.1:{port}"),
            disable_nonessential_telemetry=True,
        )
    )
    manager = FoundryLocalManager.instance
    manager.catalog.get_cached_models()[0].load()  # it loads nothing by itself
    manager.start_web_service()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    manager.stop_web_service()
    manager.close()


if __name__ == "__main__":
    main()
