"""`make setup` on a machine that lacks something: one line, with what to do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

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


def python_of(folder: Path, name: str, version: str, seconds: str) -> Path:
    python = folder / name
    python.write_text(f"#!/bin/sh\necho {version} {seconds}\n")
    python.chmod(0o755)
    return python


def test_the_systems_python_is_taken_where_it_is_clearly_faster_and_of_the_same_version(
    set_up: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_up.sys, "executable", str(python_of(tmp_path, "first", "3 11", "0.100")))
    assert set_up.faster_python(python_of(tmp_path, "faster", "3 11", "0.070")) == str(tmp_path / "faster")
    assert set_up.faster_python(python_of(tmp_path, "alike", "3 11", "0.095")) is None
    assert set_up.faster_python(python_of(tmp_path, "newer", "3 12", "0.050")) is None
    assert set_up.faster_python(tmp_path / "not-there") is None
    (broken := tmp_path / "broken").write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert set_up.faster_python(broken) is None


def test_an_environment_is_kept_while_it_works_and_is_of_the_version_that_was_named(
    set_up: ModuleType, tmp_path: Path
) -> None:
    folder, ours = tmp_path / "venv", sys.version_info[:2]
    assert not set_up.is_usable(folder)
    set_up.make_venv(folder=folder, with_pip=False)
    assert not set_up.is_usable(folder), "nothing in it could install"
    (folder / "bin" / "uv").touch()
    assert set_up.is_usable(folder) and set_up.is_usable(folder, ours)
    assert not set_up.is_usable(folder, (ours[0], ours[1] + 1))
    moved = folder.rename(tmp_path / "moved")
    assert not set_up.is_usable(moved), "its commands name the folder where it was"
    moved.rename(folder)
    (folder / "bin" / "python").unlink()
    assert not set_up.is_usable(folder)


def test_an_old_python_and_a_full_disk_are_told(set_up: ModuleType) -> None:
    with pytest.raises(set_up.SetUpFailure, match=r"Python 3\.9 is too old.*make setup PYTHON="):
        set_up.require_python((3, 9))
    with pytest.raises(set_up.SetUpFailure, match="Free some space"):
        set_up.require_disk(1 << 60)


def test_what_fetches_trusts_whom_the_machine_trusts(set_up: ModuleType, tmp_path: Path) -> None:
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "certs"
    bundle.touch()
    folder.mkdir()
    assert set_up.trusted(SimpleNamespace(cafile=None, capath=None)) == {}
    assert set_up.trusted(SimpleNamespace(cafile=None, capath=str(folder))) == {}, "an empty folder trusts nobody"
    (folder / "5ed36f99.0").touch()
    by_folder = set_up.trusted(SimpleNamespace(cafile=None, capath=str(folder)))
    assert by_folder == {"UV_SYSTEM_CERTS": "1", "REQUESTS_CA_BUNDLE": str(folder)}
    by_bundle = set_up.trusted(SimpleNamespace(cafile=str(bundle), capath=str(folder)))
    assert by_bundle["REQUESTS_CA_BUNDLE"] == str(bundle)


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
    wanted = "help setup up down status logs reset demo test test-long test-e2e lint audit check bench"
    wanted += " lock calendars migrate new-adr"
    told = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert told == wanted.split()
