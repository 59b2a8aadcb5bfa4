"""The models of a service, and what it keeps beside them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cupola.cache.home import Home
from cupola.service.settings.types import Aliases, Folder, Names, Ttl


class ModelSettings(BaseModel):
    """The models of a service, and what it keeps beside them."""

    home: Folder = Field(
        default_factory=lambda: Home.default().root,
        description="The folder of models, logs and the settings file.",
    )
    model: str = Field(
        default="smollm2-135m",
        description="The model to load at the start. 'cupola serve' downloads it if it is not on "
        "the disk. Other models are loaded when they are first used. Empty: none.",
    )
    preload: Names = Field(
        default="", description="More models to load at the start: names, separated by commas."
    )
    pinned: Names = Field(
        default="",
        description="Models to load at the start and never unload: names, separated by commas.",
    )
    model_ttl: Ttl = Field(
        default=600,
        ge=-1,
        description="Seconds that an unused model stays loaded. A request can give its model "
        "another time. -1: for ever.",
    )
    catalogs: Names = Field(
        default="",
        description="Catalogs beside the built-in one: files, addresses, and 'azure' for Foundry "
        "Local's. Commas separate them. Their form is in docs/models.md; "
        "'cupola model list --refresh' fetches those on servers.",
    )
    aliases: Aliases = Field(
        default="",
        description="More names for models, such as 'gpt-4o-mini=qwen2.5-1.5b', separated by "
        "commas. In the settings file they are a table: [aliases].",
    )
    download_rate_mb: float = Field(
        default=0,
        ge=0,
        description="The most that a download loads, in MB a second. What pip loads is not "
        "limited. 0: no limit.",
    )
    stored_responses: int = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description="The number of answers of /v1/responses that are stored. An answer is stored "
        "for 30 days. Where keys are needed, each key has this number. 0: none.",
    )
    stored_response_mb: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="The size of the stored answers, in MB. The oldest make room for new ones. "
        "Where keys are needed, each key has this size.",
    )
