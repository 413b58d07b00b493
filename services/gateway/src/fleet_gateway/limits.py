"""How much may be asked: the limits of the settings, which HTTP and the sockets count against together."""

from dataclasses import dataclass

from .rates import Limit
from .settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Limits:
    requests: Limit
    api_key: Limit
    registrations: Limit
    failed_logins: Limit

    @classmethod
    def of(cls, settings: GatewaySettings) -> "Limits":
        window_s, per_s, burst = (
            settings.gateway_rate_window_s,
            settings.gateway_rate_requests,
            settings.gateway_rate_burst,
        )
        share = settings.gateway_rate_key_share
        return cls(
            Limit.rate("requests", per_s, burst),
            Limit.rate("api-key", per_s * share, max(1, int(burst * share))),
            Limit.window("registrations", settings.gateway_rate_registrations, window_s),
            Limit.window("failed-logins", settings.gateway_rate_failed_logins, window_s),
        )
