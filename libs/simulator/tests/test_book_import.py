"""What an import costs, and where compiled code is kept."""

import subprocess
import sys
from pathlib import Path

import pytest
from fleet_simulator.book.machine_code import folder


def test_numba_comes_with_the_fast_book_alone() -> None:
    asks = "import sys, fleet_simulator, fleet_simulator.book; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0


def test_compiled_code_stands_in_the_environment_or_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert folder().is_relative_to(sys.prefix)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/elsewhere")
    assert folder().parent == Path("/elsewhere")
    assert folder().name == folder().name
