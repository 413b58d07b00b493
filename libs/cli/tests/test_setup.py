"""`make setup` on a machine that lacks something: one line, with what to do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from fleet_launcher.places import CHECKOUT


@pytest.fixture(scope="module")
def set_up() -> ModuleType:
    spec = importlib.util.spec_from_file_location("set_up", CHECKOUT / "scripts" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_without_venv_is_told_what_to_install(set_up: ModuleType, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(
        "#!/bin/sh\necho 'The virtual environment was not created because ensurepip is not available.'\nexit 1\n"
    )
    bare.chmod(0o755)
    with pytest.raises(set_up.SetUpFailure, match="apt install python3-venv"):
        set_up.make_venv(str(bare), tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_an_old_python_and_a_full_disk_are_told(set_up: ModuleType) -> None:
    with pytest.raises(set_up.SetUpFailure, match=r"Python 3\.9 is too old.*make setup PYTHON="):
        set_up.require_python((3, 9))
    with pytest.raises(set_up.SetUpFailure, match="Free some space"):
        set_up.require_disk(1 << 60)


def test_the_lock_pins_uv_by_hash_and_names_no_host(set_up: ModuleType) -> None:
    lines = set_up.locked("uv").splitlines()
    assert lines[0].startswith("uv==") and len(lines) > 2
    assert all("--hash=sha256:" in line for line in lines[1:])
    assert "://" not in set_up.LOCK.read_text()


def test_make_without_python_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-C", str(CHECKOUT), "--no-print-directory", "setup", "PYTHON=python-that-is-not-there"],
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": ""},
        check=False,
    )
    assert done.returncode != 0
    assert "error: no python-that-is-not-there was found. Install Python 3.11" in done.stderr


def test_every_target_has_a_help_text() -> None:
    done = subprocess.run(["make", "-C", str(CHECKOUT), "help"], capture_output=True, text=True, check=True)
    wanted = "help setup up down status logs reset demo test test-long test-e2e lint check bench lock migrate new-adr"
    told = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert told == wanted.split()
