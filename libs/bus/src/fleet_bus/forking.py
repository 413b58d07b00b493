"""Work on the memory of one moment while this process goes on: done by a child that has all of it as it was then."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass


class ChildFailed(Exception):
    """The child did not come to its end: it raised, or something killed it."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A child that answers with bytes. It shares no connection and no lock with us: it only computes."""

    pid: int
    answers: int

    @classmethod
    def begin(cls, work: Callable[[], bytes]) -> "Forked":
        """Stops this process for as long as its page table takes to be copied. OSError: there is no room for a child."""
        answers, said = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(answers)
            os.close(said)
            raise
        if pid == 0:
            _be_child(work, said)
        os.close(said)
        return cls(pid, answers)

    async def answer(self) -> bytes:
        """Once: what the work came to. Cancelled, it ends the child."""
        reading = asyncio.create_task(asyncio.to_thread(self._read))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildFailed):
                await reading
            raise

    def _read(self) -> bytes:
        with os.fdopen(self.answers, "rb") as answers:
            content = answers.read()
        _, status = os.waitpid(self.pid, 0)
        if status:
            raise ChildFailed(f"the child ended with {os.waitstatus_to_exitcode(status)}")
        return content


def _be_child(work: Callable[[], bytes], said: int) -> None:
    """Never returns. Sockets are left to the parent: one kept open here would hold a lock that the parent's end frees."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.closerange(3, said)
        os.closerange(said + 1, os.sysconf("SC_OPEN_MAX"))
        with os.fdopen(said, "wb") as out:
            out.write(work())
        code = 0
    finally:
        os._exit(code)
