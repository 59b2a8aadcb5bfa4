"""The variant that the default model's alias means on this machine."""

from cupola.cache.catalog import BUILT_IN, Catalog

DEFAULT_MODEL = Catalog(BUILT_IN).find("smollm2-135m")[0]
