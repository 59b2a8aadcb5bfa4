"""How fast a decoder makes tokens on this machine: a rough figure, taken when it is imported.

It belongs to the machine that imported, with whatever else that was doing. The worker runs a graph
of its own, whose steps take about as long; ``loadtests/variants.py`` measures those.
"""

from __future__ import annotations

import statistics
import time

from cupola.cache.convert.architecture import DecoderShape
from cupola.cache.convert.quality.runtime import Feed, Session, decoder_feed

_PAST = 32  # tokens that a sequence has already: few, as the exported graph copies them
_STEPS = 7


def tokens_per_second(session: Session, shape: DecoderShape, rows: int) -> float:
    """Of ``rows`` sequences together: the median of a few steps of one token each."""
    feed = decoder_feed([0], shape, rows, min(_PAST, shape.context_length - 1))
    session.run(["logits"], feed)  # the first one reserves memory
    return rows / statistics.median(_seconds(session, feed) for _ in range(_STEPS))


def _seconds(session: Session, feed: Feed) -> float:
    started = time.perf_counter()
    session.run(["logits"], feed)
    return time.perf_counter() - started
