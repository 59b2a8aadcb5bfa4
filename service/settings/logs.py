"""What a service tells of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cupola.service.settings.types import LogLevel


class LogSettings(BaseModel):
    """What a service tells of itself."""

    log_level: LogLevel = Field(
        default="info",
        description="The least severe messages in the log: 'debug', 'info', 'warning' or 'error'. "
        "'cupola service log-level' changes it while the service runs.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="The form of the log. 'console' is for people; 'json' is one object a line.",
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="The address of an OpenTelemetry collector, such as 'http://127.0.0.1:4318'. "
        "It is sent traces and metrics of requests, without any of their text. It needs the extra "
        "'telemetry'. Empty: none.",
    )
