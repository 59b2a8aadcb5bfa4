"""What a model's makers advise for sampling."""

from __future__ import annotations

from msgspec import structs

from cupola.cache.catalog_file import built_in
from cupola.scheduler.protocol.tasks import SamplingParams

_NAMES = ("temperature", "top_p", "top_k", "repetition_penalty")


def advice_of_folder(search: object) -> SamplingParams:
    """The parameters of ``search`` in genai_config.json.

    They count only if sampling is switched on. A repetition penalty of 1 is what all folders have,
    and says nothing.
    """
    if not isinstance(search, dict) or not search.get("do_sample"):
        return SamplingParams()
    found = {n: search[n] for n in _NAMES if isinstance(search.get(n), int | float)}
    if found.get("repetition_penalty") == 1:
        del found["repetition_penalty"]
    return SamplingParams(**found)


def with_catalog(advised: SamplingParams, model_id: str) -> SamplingParams:
    """``advised``, and what the built-in catalog advises where it is silent.

    A folder may be older than the advice, or published without any.
    """
    known = next((each.parameters for each in built_in() if each.id == model_id), {})
    missing = {n: v for n, v in known.items() if n in _NAMES and getattr(advised, n) is None}
    return structs.replace(advised, **missing)
