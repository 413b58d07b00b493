"""The use cases of the paper venue."""
