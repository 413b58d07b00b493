"""What stops the local stack from running, told in one line with what to do about it."""

from __future__ import annotations


class LaunchFailure(Exception):
    """Something this machine lacks or refuses: `problem` says what was met, `remedy` what the reader can do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy
