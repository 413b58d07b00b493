"""Settings of the gateway: FLEET_GATEWAY_…"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from fleet_chassis.settings import ServiceSettings
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from .rates import ANSWER_TIMEOUT_S


class GatewaySettings(ServiceSettings):
    redis_url: SecretStr

    gateway_rate_requests: float = Field(default=100, gt=0)
    """Requests a second of a user; of an address where nobody is logged in."""
    gateway_rate_burst: int = Field(default=300, ge=1)
    gateway_rate_key_share: float = Field(default=0.8, gt=0, le=1)
    """Of both, what one API key may take: a program that runs wild leaves its user's others, and himself, something."""
    gateway_rate_registrations: int = Field(default=60, ge=1)
    """Of an address, within gateway_rate_window_s."""
    gateway_rate_failed_logins: int = Field(default=30, ge=1)
    """Of an address, within gateway_rate_window_s; auth counts those of an account."""
    gateway_rate_window_s: int = Field(default=60, ge=1)
    gateway_rate_answer_timeout_s: float = Field(default=ANSWER_TIMEOUT_S, gt=0)
    """Until Redis counts as away, and four times as long it is left alone then."""
    gateway_trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Networks, separated by commas, whose X-Forwarded-For is believed."""
    gateway_cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins, separated by commas, whose pages may call the API and open sockets besides our own."""
    gateway_tls_certificate: Path | None = None
    """The chain as PEM. Without it TLS ends before the gateway, or it is reached on this machine only."""
    gateway_tls_key: Path | None = None
    gateway_tls_look_every_s: float = Field(default=60, gt=0)
    """How often the two are looked at: renewed ones are taken up without a restart."""

    gateway_connect_timeout_s: float = Field(default=1.0, gt=0)
    gateway_upstream_timeout_s: float = Field(default=15.0, gt=0)
    """No service has longer, whatever the table of routes says."""
    gateway_upstream_connections: int = Field(default=256, ge=1)
    """To one replica of a service; what is more waits for one to come free."""
    gateway_upstream_waiting: int = Field(default=1_000, ge=1)
    """Requests under way to one replica; what is more is refused, so that memory has a bound when it hangs."""
    gateway_bodies_bytes: int = Field(default=67_108_864, ge=1)
    """Of requests under way that came in several pieces, all together; what is more is refused (503)."""
    gateway_bodies_streamed: int = Field(default=64, ge=0)
    """Long bodies that go on as they come, a quarter of the connections to one replica; others are read whole first."""
    gateway_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where Prometheus finds this process's metrics; they are not on the public port."""

    gateway_socket_queue: int = Field(default=1_000, ge=1)
    """Messages waiting for a slow reader before the socket is closed with 1013; 16 MiB of them in any case."""
    gateway_sockets_per_user: int = Field(default=50, ge=1)
    gateway_sockets_per_address: int = Field(default=1_000, ge=1)
    """A whole office may come from one; nobody takes more than a tenth of what there is."""
    gateway_socket_subscriptions: int = Field(default=1_000, ge=1)
    """Channels, and symbols of market_data, of one socket."""
    gateway_sockets: int = Field(default=10_000, ge=1)
    """Of this process: about 30 kB each, and what waits for its reader while that is slow."""
    gateway_socket_messages: int = Field(default=20, ge=1)
    """A second, from a client, with bursts of five times as many; beyond that it is a flood: 1008."""
    gateway_socket_message_bytes: int = Field(default=65_536, ge=1)

    @field_validator("gateway_trusted_proxies", "gateway_cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
