"""Attempts at accounts: who may try, and whose address it is."""

from dataclasses import dataclass
from datetime import timedelta

from fleet_auth.domain import Client
from fleet_auth.ports import Reputation
from fleet_auth.settings import AuthSettings

from .domain import Budget, Standing, TooManyFailedLogins
from .networks import NetworkLists
from .store import Attempts, Counted

FOR_MAIL = Budget(allowed=5, first_wait=timedelta(hours=1), longest_wait=timedelta(hours=1))
"""Mails of one purpose to one address: nobody's letter box is filled by asking again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence:
    """An account has one budget for all strangers, and one for each address that its owner was at lately, so that
    nobody elsewhere shuts him out. What comes from one address as a stranger, to whatever accounts, has one too."""

    account: Budget
    address: Budget
    known_for: timedelta
    reputation: Reputation

    def is_denied(self, client: Client) -> bool:
        return client.address is not None and self.reputation.standing(client.address) is Standing.DENIED

    async def begin(self, attempts: Attempts, email: str, client: Client) -> tuple[Counted, ...]:
        """Counts an attempt before the password is looked at, so that many at once are counted too.

        Under what, to be taken back with `Attempts.one_less` if it succeeds. Raises TooManyFailedLogins.
        """
        at = client.address
        counted: tuple[Counted, ...] = ((email, self.account),)
        if at is not None:
            if await attempts.is_known(email, at):
                counted = ((_own(email, at), self.account),)
            else:
                counted = (*counted, *self._of_address(at))
        return await self._count(attempts, *counted)

    async def begin_code(self, attempts: Attempts, client: Client) -> tuple[Counted, ...]:
        """The same for a code of a second factor, whose account counts by itself (mfa/): so that what an address tries at many
        accounts is seen."""
        return await self._count(attempts, *self._of_address(client.address))

    def _of_address(self, at: str | None) -> tuple[Counted, ...]:
        is_counted = at is not None and self.reputation.standing(at) is not Standing.ALLOWED
        return ((f"address {at}", self.address),) if is_counted else ()

    async def _count(self, attempts: Attempts, *counted: Counted) -> tuple[Counted, ...]:
        wait = await attempts.one_more(*counted)
        if wait is not None:
            raise TooManyFailedLogins(wait)
        return counted

    async def know(self, attempts: Attempts, email: str, client: Client) -> None:
        """Only the account's owner could have done what was done now: where he is, strangers do not count for him."""
        if client.address is not None:
            await attempts.clear(_own(email, client.address))
            await attempts.know(email, client.address, self.known_for)


def defence_of(settings: AuthSettings) -> Defence:
    """Raises OSError and ValueError for lists that cannot be read."""
    first_wait = timedelta(seconds=settings.auth_failed_logins_wait_s)
    longest_wait = timedelta(seconds=settings.auth_failed_logins_longest_wait_s)
    return Defence(
        account=Budget(allowed=settings.auth_failed_logins, first_wait=first_wait, longest_wait=longest_wait),
        address=Budget(allowed=settings.auth_failed_logins_address, first_wait=first_wait, longest_wait=longest_wait),
        known_for=timedelta(days=settings.auth_known_address_days),
        reputation=NetworkLists(allowed=settings.auth_allowed_networks_file, denied=settings.auth_denied_networks_file),
    )


def _own(email: str, address: str) -> str:
    return f"{email} from {address}"
