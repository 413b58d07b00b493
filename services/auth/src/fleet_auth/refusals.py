"""What people are refused on the way in, as the API says it."""

from collections.abc import Iterator
from contextlib import contextmanager

from fleet_chassis.logging import get_logger
from fleet_chassis.problems import FieldError, Problem, unavailable
from fleet_chassis.requests import current_client_address
from prometheus_client import Counter

from .confirmations.domain import ConfirmationUnknown
from .domain import EmailTaken, IdempotencyKeyReused, UserDisabled, WrongCredentials
from .guessing.domain import TooManyFailedLogins
from .passwords import PasswordRefused, TooBusy

_REFUSED = Counter("fleet_auth_refused_total", "People refused on the way in, by the code they were told.", ["code"])

log = get_logger(__name__)


@contextmanager
def refusals() -> Iterator[None]:
    """Raises the Problem of what is refused within, noted."""
    try:
        yield
    except Exception as error:
        problem = error if isinstance(error, Problem) else _problem(error)
        if problem is None:
            raise
        raise noted(problem) from None


def noted(problem: Problem) -> Problem:
    """The same, counted and logged: who guesses is seen."""
    _REFUSED.labels(problem.code).inc()
    log.info("refused_on_the_way_in", code=problem.code, address=current_client_address())
    return problem


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
        case PasswordRefused(code=code):
            error = FieldError("new_password", str(refused), code)
            return Problem(422, "invalid_request", f"The password {refused}.", errors=[error])
        case TooBusy():
            return unavailable("Too many passwords are being checked.")
        case _:
            return None
