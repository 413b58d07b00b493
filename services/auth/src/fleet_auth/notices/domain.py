"""A notice, and its mail."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from fleet_auth.mail import Mail

WORTH_TELLING = timedelta(days=3)
"""A mail that its server has not taken by then is given up."""


class Event(StrEnum):
    """What was done; the subject of the mail."""

    PASSWORD_CHANGED = "Your password was changed"  # noqa: S105
    PASSWORD_SET_ANEW = "Your password was set anew by mail"  # noqa: S105
    FACTOR_SET_UP = "A second factor was set up"
    FACTOR_REMOVED = "Your second factor was removed"
    FACTOR_RESET = "An operator removed your second factor"
    RECOVERY_CODES_MADE = "New recovery codes were made"
    RECOVERY_CODE_USED = "A recovery code was used"
    API_KEY_MADE = "An API key was made"
    API_KEY_REVOKED = "An API key was revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`detail` names what it was done to; `address` is where it was done from."""

    user_id: UUID
    event: Event
    detail: str | None
    address: str | None
    noticed_at: datetime

    def mail(self, to: str, url: str) -> Mail:
        what = self.event if self.detail is None else f"{self.event}: {self.detail}"
        source = "" if self.address is None else f" from the address {self.address}"
        return Mail(
            to=to,
            subject=self.event,
            text=f"{what}, at {url}, {self.noticed_at:%Y-%m-%d %H:%M} UTC{source}.\n\n"
            "If it was you, there is nothing to do. If not, somebody else is in your account: set your password anew,\n"
            f'POST {url}/api/v1/auth/password/forgot {{"email": "{to}"}}\n'
            "which ends all sessions; then look at your API keys, which it does not end, and at your second factor.\n",
        )
