"""What the launcher tells a process through its environment. No secret has a default."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Feed = Literal["simulated", "replay", "live"]


class ServiceSettings(BaseSettings):
    """Settings of every service, read from `FLEET_*`.

    A service adds its own as fields that begin with its name: `trading_send_by_s` is FLEET_TRADING_SEND_BY_S.
    """

    model_config = SettingsConfigDict(env_prefix="FLEET_", frozen=True, extra="ignore", hide_input_in_errors=True)

    service: str = Field(pattern=r"^[a-z][a-z-]{0,40}$")
    ordinal: int = Field(default=0, ge=0)
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    kafka_url: str = Field(repr=False)
    """Where Kafka is and this service's own user and password there (fleet_bus.address)."""
    feed: Feed = "simulated"
    topic_prefix: str = Field(default="", pattern=r"^[a-z0-9-]{0,40}(?:\.)?$")
    """Put before the name of every topic and consumer group, so that several fleets (or tests) can share one Kafka."""
    instances: Path
    private_key_file: Path
    public_keys_file: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    body_limit_bytes: int = Field(default=1_048_576, gt=0)
    """Largest request body taken: 500 orders of a batch are about 200 kB."""


class DatabaseSettings(ServiceSettings):
    """Settings of a service that owns a database."""

    database_url: SecretStr
    database_connections: int = Field(default=6, ge=1)
    """Connections of the pool: 2 cores keep 4 to 6 a service busy, and all services share max_connections."""
