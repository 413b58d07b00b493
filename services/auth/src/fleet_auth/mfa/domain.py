"""TOTP (RFC 6238) and recovery codes: which code counts, and how long one who guesses has to wait."""

import hashlib
import hmac
import secrets
from base64 import b32encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pyotp

from fleet_auth.guessing.domain import Budget, whole_seconds

ISSUER = "Tradefleet"
STEP_S = 30
RECOVERY_CODES = 10
_RECOVERY_BYTES = 10
"""80 random bits: a plain hash of them cannot be guessed at."""
WRONG_CODES = Budget(allowed=5, first_wait=timedelta(seconds=30), longest_wait=timedelta(hours=1))
"""In a row. 24 guesses a day at three codes each of a million; only who knows the password can make the owner wait."""
CHALLENGE_LIFETIME = timedelta(minutes=5)
RECENT_LOGIN = timedelta(minutes=15)
"""Who has got hold of another's session, and not of his password, does not set up a factor of his own in it (ASVS 7.5.1)."""


class AlreadyEnabled(Exception):
    """The user has a second factor; it is disabled before another one is set up."""


class NotEnabled(Exception):
    """The user has no second factor."""


@dataclass(frozen=True, slots=True)
class CodeRefused:
    """`code` is the API's; `retry_after_s` where one has to wait."""

    code: str
    detail: str
    retry_after_s: int | None = None


NO_FACTOR = CodeRefused("mfa_not_enabled", "There is no second factor.")
WRONG_CODE = CodeRefused("invalid_code", "The code is wrong, or was used before.")
UNKNOWN_TOKEN = CodeRefused("mfa_token_unknown", "The mfa_token is not known, used or expired; log in again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totp:
    user_id: UUID
    secret: str
    is_confirmed: bool
    last_step: int
    failures: int
    blocked_until: datetime | None

    def refusal(self, now: datetime) -> CodeRefused | None:
        """Why no code is looked at now."""
        if self.blocked_until is None or self.blocked_until <= now:
            return None
        wait_s = whole_seconds(self.blocked_until - now)
        return CodeRefused("too_many_codes", "Too many wrong codes; wait before the next.", wait_s)

    def step_of(self, code: str, now: datetime) -> int | None:
        """The step whose code this is, if it is of now or of one step beside it, and later than the last one used."""
        totp, now_step = pyotp.TOTP(self.secret), int(now.timestamp()) // STEP_S
        found = None
        for step in (now_step - 1, now_step, now_step + 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()) and step > self.last_step:
                found = step
        return found

    def blocked_after(self, failures: int, now: datetime) -> datetime | None:
        """Until when, after so many wrong codes in a row."""
        wait = WRONG_CODES.wait(failures)
        return None if wait is None else now + wait


def new_totp_secret() -> str:
    """160 random bits, as RFC 4226 wants them, in base32."""
    return pyotp.random_base32()


def otpauth_uri(secret: str, email: str) -> str:
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def new_recovery_codes() -> list[str]:
    """Like `ABCD-EFGH-2345-6789`."""
    return [_in_fours(b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode()) for _ in range(RECOVERY_CODES)]


def _in_fours(text: str) -> str:
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def hash_recovery_code(user_id: UUID, code: str) -> bytes:
    """However it is typed: lower case, without dashes, with spaces."""
    typed = "".join(character for character in code.upper() if character.isalnum())
    return hashlib.sha256(f"{user_id} {typed}".encode()).digest()
