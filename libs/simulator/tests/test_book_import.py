"""What an import costs, and where compiled code is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fleet_simulator.book.machine_code import folder


def test_numba_comes_with_the_fast_book_alone() -> None:
    asks = "import sys, fleet_simulator, fleet_simulator.book; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0


def test_its_code_is_for_any_processor_of_the_kind() -> None:
    """Also where numba was imported before; else what was compiled at one place is compiled anew at the next."""
    asks = (
        "import numba, fleet_simulator.book.fast; from numba.core.registry import cpu_target;"
        "assert cpu_target.target_context.codegen().magic_tuple()[1:] == ('generic', '')"
    )
    fresh = {name: value for name, value in os.environ.items() if name != "NUMBA_CPU_NAME"}
    assert subprocess.run([sys.executable, "-c", asks], env=fresh, check=False).returncode == 0


def test_compiled_code_stands_in_the_environment_or_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert folder().is_relative_to(sys.prefix)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/elsewhere")
    assert folder().parent == Path("/elsewhere")
    assert folder().name == folder().name
