"""Answers made smaller on their way out, brotli or gzip, as the client takes them; bodies unpacked on their way in."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache

import brotli

WORTH_BYTES = 1_024
"""Below this what is saved costs more than it saves."""
IN_THREAD_BYTES = 65_536
"""Above this (about 1 ms of work) other requests should not wait for it."""
MOST_RATIO = 100
"""JSON shrinks ten to fifty times; what shrinks more was made to."""
CODINGS = ("br", "gzip")
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
    for coding in CODINGS:
        if weights.get(coding, weights.get("*", 0.0)) > 0:
            return coding
    return None


def encoded(body: bytes, coding: str) -> bytes:
    """At the level where a further one costs more time than a network saves."""
    if coding == "br":
        return bytes(brotli.compress(body, quality=4))
    packer = zlib.compressobj(5, wbits=31)
    return packer.compress(body) + packer.flush()


async def encoded_parts(parts: AsyncIterator[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """The same of what comes in long parts."""
    if coding == "br":
        brotli_packer = brotli.Compressor(quality=4)
        pack, end = brotli_packer.process, brotli_packer.finish
    else:
        zlib_packer = zlib.compressobj(5, wbits=31)
        pack, end = zlib_packer.compress, zlib_packer.flush
    async for part in parts:
        packed = await asyncio.to_thread(pack, part)
        if packed:
            yield packed
    yield end()


def decoded(body: bytes, coding: str, limit: int) -> bytes | None:
    """What was packed; None where that is more than the limit, or more than can be meant. Raises ValueError where it is
    not whole. Nothing beyond the limit is ever unpacked."""
    most = min(limit, MOST_RATIO * len(body))
    try:
        if coding == "br":
            stream = brotli.Decompressor()
            found = bytes(stream.process(body, output_buffer_limit=most + 1))
            is_whole = stream.is_finished()
        else:
            unpacker = zlib.decompressobj(wbits=31)
            found = unpacker.decompress(body, most + 1)
            is_whole = unpacker.eof and not unpacker.unused_data
    except (brotli.error, zlib.error) as error:
        raise ValueError(f"not {coding}") from error
    if len(found) > most:
        return None
    if not is_whole:
        raise ValueError(f"not one whole {coding}")
    return found


encoded_once = lru_cache(maxsize=32)(encoded)
"""For what is answered many times: pages and their scripts."""
