"""What people are refused on the way in, as the API says it."""

from collections.abc import Iterator
from contextlib import contextmanager

from fleet_chassis.problems import Problem, unavailable

from .confirmations.domain import ConfirmationUnknown
from .domain import EmailTaken, IdempotencyKeyReused, UserDisabled, WrongCredentials
from .guessing.domain import TooManyFailedLogins
from .passwords import TooBusy


@contextmanager
def refusals() -> Iterator[None]:
    """Raises the Problem of what is refused within."""
    try:
        yield
    except Exception as error:
        problem = _problem(error)
        if problem is None:
            raise
        raise problem from None


def _problem(refused: Exception) -> Problem | None:
    match refused:
        case EmailTaken():
            return Problem(409, "email_taken", "A user with this address exists.")
        case WrongCredentials():
            return Problem(401, "invalid_credentials", "The address or the password is wrong.")
        case UserDisabled():
            return Problem(403, "user_disabled", "The user is disabled.")
        case IdempotencyKeyReused():
            return Problem(409, "idempotency_key_reused", "This Idempotency-Key came before with another body.")
        case ConfirmationUnknown():
            return Problem(404, "token_unknown", "The token is not known, used or expired.")
        case TooManyFailedLogins(retry_after_s=wait_s):
            detail = "Too many logins failed; wait before the next."
            return Problem(429, "too_many_failed_logins", detail, headers={"Retry-After": str(wait_s)})
        case TooBusy():
            return unavailable("Too many passwords are being checked.")
        case _:
            return None
