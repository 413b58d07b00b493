"""A served application does not keep its process: a signal ends it as if nothing were served."""

import signal
import subprocess
import sys

import pytest

SERVES = """
import asyncio, signal
from fastapi import FastAPI
from fleet_testkit.http import served

async def main():
    async with served(FastAPI()), served(FastAPI()):
        print("served", flush=True)
        await asyncio.Event().wait()

# A shell starts what runs behind it with SIGINT ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_that_serves(sent: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", SERVES], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "served\n"
            process.send_signal(sent)
            assert process.wait(timeout=30) == -sent
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # where it stands
            pytest.fail(process.communicate()[1])
        finally:
            process.kill()
