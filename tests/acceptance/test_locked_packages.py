"""Holes that are known stay closed, whatever the lock is resolved to anew."""

import re
from pathlib import Path

from packaging.version import Version

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
FLOORS = {"pyjwt": "2.13", "starlette": "1.3.1", "python-multipart": "0.0.27"}
"""Of what is locked at all."""


def test_no_package_is_below_its_floor() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK.read_text(), re.MULTILINE))
    assert locked["pyjwt"]
    assert locked["starlette"]
    too_old = {name for name in FLOORS.keys() & locked.keys() if Version(locked[name]) < Version(FLOORS[name])}
    assert not too_old
