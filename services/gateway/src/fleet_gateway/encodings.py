"""Answers made smaller on their way out: brotli or gzip, as the client takes them."""

import zlib
from functools import lru_cache

import brotli

WORTH_BYTES = 1_024
"""Below this what is saved costs more than it saves."""
IN_THREAD_BYTES = 65_536
"""Above this (about 1 ms of work) other requests should not wait for it."""
_TEXTS = (b"application/json", b"application/problem+json", b"text/", b"image/svg+xml")


def is_text(media_type: bytes) -> bool:
    return media_type.startswith(_TEXTS)


def chosen(accepted: bytes) -> str | None:
    """The coding an Accept-Encoding header asks for (RFC 9110, 12.5.3), None for the bytes as they are."""
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(",")[:20]:
        name, _, parameter = part.partition(";")
        _, is_weighted, weight = parameter.partition("q=")
        try:
            weights[name.strip()] = float(weight) if is_weighted else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    for coding in ("br", "gzip"):
        if weights.get(coding, weights.get("*", 0.0)) > 0:
            return coding
    return None


def encoded(body: bytes, coding: str) -> bytes:
    """At the level where a further one costs more time than a network saves."""
    if coding == "br":
        return bytes(brotli.compress(body, quality=4))
    packer = zlib.compressobj(5, wbits=31)
    return packer.compress(body) + packer.flush()


encoded_once = lru_cache(maxsize=32)(encoded)
"""For what is answered many times: pages and their scripts."""
