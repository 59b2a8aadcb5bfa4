"""What the service tells its user: that it is ready, or why it is not. As text, or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)
NO_MODEL = "and loads models when they are asked for ('cupola model list' shows them)"


@dataclass(frozen=True, slots=True)
class Told:
    """``as_json``: each thing is a line of JSON on standard output."""

    as_json: bool = False

    def ready(
        self, address: str, model: str, *, needs_key: bool = False, is_loaded: bool = True
    ) -> None:
        """The service's address, and a first request to try. ``model``: empty: none is loaded.

        ``is_loaded`` is false when its load failed.
        """
        if self.as_json:
            facts = {"running": True, "state": "ready", "pid": os.getpid(), "webUrls": [address]}
            loads = {"model": model} if is_loaded else {"model": "", "notLoaded": model}
            _print(_line(facts | loads))
            return
        if not is_loaded:
            _print(
                f"\nCupola is ready on {address} without {model}, which could not be loaded: "
                "the log says why.\nRequests for it try again. Other models are loaded when they "
                "are asked for.\n\nCtrl+C stops it.\n"
            )
            return
        name = model or "MODEL"
        body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
        key = " \\\n    -H 'Authorization: Bearer KEY'" if needs_key else ""
        _print(
            f"\nCupola is ready on {address} {f'with {model}' if model else NO_MODEL}. Try:\n\n"
            f"  curl {address}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
            f"    -d '{body}'\n\nCtrl+C stops it.\n"
        )

    def failed(self, text: str) -> None:
        """Why the service ends."""
        if self.as_json:
            _print(_line({"success": False, "message": text, "hint": ""}))
        else:
            self.warn(text)

    def warn(self, text: str) -> None:
        with suppress(OSError):  # standard error may be on a full disk
            print(f"cupola: {text}", file=sys.stderr)


def _line(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:  # a full disk, or a pipe that nobody reads
        logger.warning("cannot write to standard output: %s", error.strerror or error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to come
