"""Measures roughly how fast a decoder makes tokens on this machine.

The figure belongs to the machine that imported the model, under whatever load that machine had. The
worker rewrites the graph. Its steps take about as long; ``loadtests/variants.py`` measures them.
"""

from __future__ import annotations

import statistics
import time

from cupola.cache.convert.quality.runtime import Feed, Session, Sizes, decoder_feed

_PAST = 32  # tokens in the cache of each sequence: few, because the exported graph copies them
_STEPS = 7


def tokens_per_second(session: Session, shape: Sizes, rows: int) -> float:
    """The tokens per second of ``rows`` sequences together.

    It is the median of a few steps of one token a sequence.
    """
    feed = decoder_feed([0], shape, rows, min(_PAST, shape.context_length - 1))
    session.run(["logits"], feed)  # the first one reserves memory
    return rows / statistics.median(_seconds(session, feed) for _ in range(_STEPS))


def _seconds(session: Session, feed: Feed) -> float:
    started = time.perf_counter()
    session.run(["logits"], feed)
    return time.perf_counter() - started
