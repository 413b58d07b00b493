"""Which slot and partition a key lives in: the same murmur2 as Kafka's Java client, computed by us."""

from functools import lru_cache

SLOTS = 4096
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned 32-bit integer."""
    length = len(data)
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & _MASK
    tail = length & ~3
    for i in range(0, tail, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & _MASK
        k ^= k >> 24
        k = (k * m) & _MASK
        h = ((h * m) & _MASK) ^ k
    rest = length & 3
    if rest:
        for i in range(rest - 1, -1, -1):
            h ^= data[tail + i] << (8 * i)
        h = (h * m) & _MASK
    h ^= h >> 13
    h = (h * m) & _MASK
    h ^= h >> 15
    return h


@lru_cache(maxsize=65_536)
def slot(key: str) -> int:
    """The slot of a key: 0 … 4095. Accounts are moved and sharded by ranges of slots.

    Remembered: the same accounts and symbols come again and again, and the hash takes 10 µs."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % SLOTS


def partition(key: str, partitions: int) -> int:
    """The partition of a key in a topic of so many partitions."""
    return slot(key) % partitions
