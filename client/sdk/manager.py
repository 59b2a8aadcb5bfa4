"""The SDK's manager, and the builder that makes one in steps.

The methods are those of Foundry Local's SDK for Python 0.5, so an app only has to import this class
instead of that one. The builder and a few more methods are from its SDK for Rust. A chat does not
go through the manager: give ``endpoint`` and ``api_key`` to any OpenAI client.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from cupola.cache.catalog import DeviceType
from cupola.client.sdk.async_manager import AsyncFoundryLocalManager
from cupola.client.sdk.connection import Timeout
from cupola.client.sdk.model_manager import ModelManager


class FoundryLocalManager(ModelManager):
    """The local service and its models: see ModelManager for the arguments and ``with``."""

    @classmethod
    def builder(cls) -> FoundryLocalManagerBuilder:
        """Takes in steps what the constructor takes as arguments."""
        return FoundryLocalManagerBuilder()


@dataclass(frozen=True, slots=True)
class FoundryLocalManagerBuilder:
    """What to build. Every step returns a new builder; ``build`` does the work."""

    model: str | None = None
    on_device: DeviceType | None = None
    bootstraps: bool = True
    seconds: Timeout = None
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

    def timeout(self, seconds: Timeout) -> FoundryLocalManagerBuilder:
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
        return await AsyncFoundryLocalManager.create(
            self.model, self.on_device, self.bootstraps, self.seconds, home=self.folder
        )
