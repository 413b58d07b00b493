"""One number for a state: equal states have equal hashes, in every process."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def state_hash(snapshot: Mapping[str, Any]) -> str:
    """SHA-256 of plain data."""
    canonical = json.dumps(snapshot, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
