"""SQL, rows, and the packaged history."""
