"""For strategy authors: `fleet_sdk.strategy`, `builtin`, `run`. For users of the API: `fleet_sdk.client`, `problems`."""
