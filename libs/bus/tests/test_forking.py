"""A child of the process answers from the memory of the moment in which it was begun."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from fleet_bus.forking import ChildFailed, Forked
from fleet_testkit.eventually import eventually


async def test_the_answer_is_of_the_moment_in_which_it_was_begun() -> None:
    state = list(range(200_000))
    forked = Forked.begin(lambda: repr(state).encode())
    state.clear()
    assert await forked.answer() == repr(list(range(200_000))).encode()


async def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "told"
    os.mkfifo(path)
    forked = Forked.begin(path.read_bytes)
    answer = asyncio.create_task(forked.answer())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not answer.done()
    path.write_bytes(b"state")
    assert await answer == b"state"


@pytest.mark.parametrize("work", [lambda: 1 / 0, lambda: os.kill(os.getpid(), signal.SIGKILL)])
async def test_a_child_that_dies_has_failed(work: object) -> None:
    with pytest.raises(ChildFailed):
        await Forked.begin(work).answer()  # type: ignore[arg-type]


async def test_nobody_waits_for_a_child_whose_answer_is_not_wanted() -> None:
    def forever() -> bytes:
        signal.pause()
        return b""

    forked = Forked.begin(forever)
    answer = asyncio.create_task(forked.answer())
    await asyncio.sleep(0)
    answer.cancel()
    await asyncio.wait((answer,))

    def is_gone() -> bool:
        try:
            os.kill(forked.pid, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(is_gone)
