"""TLS at the gateway itself, where certificates are configured; else it is the business of who stands before it."""

import ssl
from collections.abc import Callable
from typing import Any

from .settings import GatewaySettings


def tls_options(settings: GatewaySettings) -> dict[str, Any]:
    """Options of uvicorn.Config; none without a certificate."""
    if settings.gateway_tls_certificate is None:
        return {}
    return {
        "ssl_certfile": settings.gateway_tls_certificate,
        "ssl_keyfile": settings.gateway_tls_key,
        "ssl_context_factory": _only_tls_1_3,
    }


def _only_tls_1_3(_config: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
