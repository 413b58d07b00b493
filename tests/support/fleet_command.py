"""The command `fleet` against one service that runs alone."""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from fleet_launcher.keys import COMMAND_KEY
from fleet_launcher.places import StateDir
from fleet_launcher.processes import record


def fleet_of(folder: Path, keys: Path, name: str, *urls: str) -> StateDir:
    """A state folder in which these processes of one service are the fleet; the command's key lies in `keys`."""
    state = StateDir(folder)
    state.prepare()
    key = state.private_key(COMMAND_KEY)
    key.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(keys / key.name, key)
    record(state, f"{name}-0", os.getpid())
    state.keep("fleet.json", {"services": {}})
    instances = [{"name": name, "ordinal": ordinal, "url": url} for ordinal, url in enumerate(urls)]
    state.keep("instances.json", {"instances": instances})
    return state


async def command(state: StateDir, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    program = (sys.executable, "-m", "fleet_cli.main", *words, "--state-dir", str(state.path))
    done = await asyncio.create_subprocess_exec(*program, stdout=PIPE, stderr=PIPE)
    told, wrong = await done.communicate()
    return done.returncode or 0, told.decode(), wrong.decode()
