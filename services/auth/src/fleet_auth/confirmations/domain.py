"""A confirmation, and the mail that asks for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from fleet_auth.mail import Mail

LIFETIME = timedelta(hours=1)


class Purpose(StrEnum):
    REGISTRATION = "registration"
    PASSWORD_RESET = "password_reset"  # noqa: S105


class ConfirmationUnknown(Exception):
    """The token is not known, used or expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    """`is_short`: it counts beside a second factor only."""

    password_hash: str
    is_short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """`password_hash` and `display_name` are those of a registration."""

    confirmation_id: UUID
    purpose: Purpose
    email: str
    password_hash: str | None = None
    display_name: str | None = None
    expires_at: datetime

    def mail(self, url: str, token: str) -> Mail:
        """The mail with the token in it."""
        if self.purpose is Purpose.REGISTRATION:
            return Mail(
                to=self.email,
                subject="Confirm your address",
                text=f"Somebody, probably you, registered this address with Tradefleet at {url}.\n"
                f'Confirm it within an hour: POST {url}/api/v1/auth/email/verify {{"token": "{token}", "password": "…"}}\n'
                "with the password that you registered with.\n\nIf it was not you, do nothing: there is no account.\n",
                token=token,
            )
        return Mail(
            to=self.email,
            subject="Set your password anew",
            text=f"Somebody, probably you, asked to set the password of your account at {url} anew.\n"
            f'Within an hour: POST {url}/api/v1/auth/password/reset {{"token": "{token}", "new_password": "…"}}\n\n'
            "If it was not you, do nothing: your password stays.\n",
            token=token,
        )

    def mail_to_owner(self, url: str) -> Mail:
        """Instead, when the address is registered already."""
        return Mail(
            to=self.email,
            subject="You have an account",
            text=f"Somebody tried to register this address at {url} again. Log in with your password, or set it anew:\n"
            f'POST {url}/api/v1/auth/password/forgot {{"email": "{self.email}"}}\n',
        )
