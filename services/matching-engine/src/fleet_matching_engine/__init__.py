"""matching-engine: the `internal` venue."""
