"""Latency: how long a command is on its way to the venue, in nanoseconds. The same command takes the same time always."""

import hashlib
from dataclasses import dataclass
from math import exp
from statistics import NormalDist
from typing import Protocol


class Latency(Protocol):
    def delay_ns(self, order_ref: str, command_sequence: int) -> int: ...


@dataclass(frozen=True, slots=True)
class ConstantLatency:
    """The same for every command, as hftbacktest's ConstantLatency; 50 ms is a retail client's way to a venue."""

    constant_ns: int = 50_000_000

    def __post_init__(self) -> None:
        if self.constant_ns < 0:
            raise ValueError(f"a latency is not negative, was {self.constant_ns}")

    def delay_ns(self, order_ref: str, command_sequence: int) -> int:
        return self.constant_ns


@dataclass(frozen=True, slots=True)
class LogNormalLatency:
    """A floor and on top of it a log-normal delay of this median and shape, drawn from the seed and the command.

    Source of the shape: I. Antoniou et al., On the Log-normal Distribution of Network Traffic (2002). The draw is the
    inverse of the distribution at a uniform number of 53 bits taken from SHA-256, so that no generator has a state.
    """

    seed: int
    floor_ns: int = 1_000_000
    median_ns: int = 20_000_000
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if self.floor_ns < 0 or self.median_ns <= 0 or self.sigma < 0:
            raise ValueError(
                f"floor and sigma are not negative and the median above 0, was {self.floor_ns}, {self.sigma} and"
                f" {self.median_ns}"
            )

    def delay_ns(self, order_ref: str, command_sequence: int) -> int:
        digest = hashlib.sha256(f"{self.seed}:{order_ref}:{command_sequence}".encode()).digest()
        uniform = ((int.from_bytes(digest[:8]) >> 11) + 0.5) / 2**53
        return self.floor_ns + round(self.median_ns * exp(self.sigma * NormalDist().inv_cdf(uniform)))
