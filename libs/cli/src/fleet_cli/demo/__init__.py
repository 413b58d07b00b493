"""`fleet demo`: the whole main flow on real data, over the real Kafka, checked against an in-process run."""

from .run import run

__all__ = ["run"]
