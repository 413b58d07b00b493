"""How many messages an account may send, counted by the times in the journal."""

from typing import Final

_SECOND_NS: Final = 1_000_000_000


class Rates:
    """The generic cell rate algorithm (ITU-T I.371): of each account the time until which it has used its rate up.

    A burst of a second's worth is free; only what is taken counts."""

    def __init__(self, times: dict[str, int] | None = None) -> None:
        self.times: dict[str, int] = times if times is not None else {}

    def is_free(self, account: str, at_ns: int, rate: int) -> bool:
        """Takes one message of the account's rate, if there is one."""
        until = max(self.times.get(account, 0), at_ns)
        if until - at_ns > _SECOND_NS - _SECOND_NS // rate:
            return False
        self.times[account] = until + _SECOND_NS // rate
        return True
