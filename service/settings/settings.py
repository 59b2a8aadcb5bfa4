"""The settings of a service: one class says what can be set and what is allowed.

Its fields stand in the classes of the groups. ``sources.load`` fills it. The flags, the variables
and the documents are made from it, with the words of ``texts``. Nothing here reads, starts or
creates anything.
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cupola.service.settings.engine import EngineSettings
from cupola.service.settings.logs import LogSettings
from cupola.service.settings.memory import MemorySettings
from cupola.service.settings.models import ModelSettings
from cupola.service.settings.network import NetworkSettings
from cupola.service.settings.security import SecuritySettings
from cupola.service.settings.types import worker_tables
from cupola.service.settings.worker_tables import WorkerTable

PREFIX = "CUPOLA_"


class SettingsError(ValueError):
    """A key that does not exist, or a value that is not allowed: the text names key and source."""


class Settings(
    # The fields of the last come first.
    LogSettings,
    SecuritySettings,
    MemorySettings,
    EngineSettings,
    ModelSettings,
    NetworkSettings,
    BaseSettings,
):
    """Everything that can be set about a service. Reads nothing by itself.

    The first sentence of a description stands alone in short lists.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, allow_inf_nan=False
    )

    @property
    def worker_tables(self) -> tuple[WorkerTable, ...]:
        """What is said of the workers."""
        return worker_tables(self.workers)

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of every worker, e.g. ``("cpu:0", "cpu:0")``."""
        return tuple(table.device for table in self.worker_tables for _ in range(table.count))

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_bool(cls, value: Any) -> Any:
        if isinstance(value, bool):  # pydantic would take true for 1
            raise ValueError("not a value of this setting")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # ``sources`` reads them one by one, to know where each value came from.
        return (init_settings,)
