"""Builds a manager in steps, after Foundry Local's SDK for Rust."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cupola.cache.catalog import DeviceType
from cupola.client.sdk.manager import FoundryLocalManager

if TYPE_CHECKING:
    from cupola.client.sdk.async_manager import AsyncFoundryLocalManager


@dataclass(frozen=True, slots=True)
class FoundryLocalManagerBuilder:
    """What to build. Every step returns a new builder; ``build`` does the work."""

    model: str | None = None
    on_device: DeviceType | None = None
    bootstraps: bool = True
    seconds: float | None = None
    folder: str | os.PathLike[str] | None = None

    def alias_or_model_id(self, name: str) -> FoundryLocalManagerBuilder:
        """The model to download and load."""
        return replace(self, model=name)

    def device(self, device: DeviceType) -> FoundryLocalManagerBuilder:
        """Which of an alias's variants to take."""
        return replace(self, on_device=device)

    def bootstrap(self, bootstrap: bool) -> FoundryLocalManagerBuilder:
        """Whether to start the service and load the model."""
        return replace(self, bootstraps=bootstrap)

    def timeout(self, seconds: float) -> FoundryLocalManagerBuilder:
        """How long to wait for each answer of the service."""
        return replace(self, seconds=seconds)

    timeout_secs = timeout  # its name in the SDK for Rust

    def home(self, folder: str | os.PathLike[str]) -> FoundryLocalManagerBuilder:
        """The data folder."""
        return replace(self, folder=folder)

    def build(self) -> FoundryLocalManager:
        """The manager. Raises ClientError."""
        return FoundryLocalManager(
            self.model, self.on_device, self.bootstraps, self.seconds, home=self.folder
        )

    async def build_async(self) -> AsyncFoundryLocalManager:
        """The manager whose methods are coroutines. Raises ClientError."""
        from cupola.client.sdk.async_manager import AsyncFoundryLocalManager

        return await AsyncFoundryLocalManager.create(
            self.model, self.on_device, self.bootstraps, self.seconds, home=self.folder
        )
