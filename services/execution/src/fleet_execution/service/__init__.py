"""The use cases of execution."""
