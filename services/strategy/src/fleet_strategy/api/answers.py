"""What both nouns' routes share: idempotent creation, and the problems of the domain's errors."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fleet_chassis.problems import FieldError, Problem
from pydantic import BaseModel
from starlette.responses import Response

from fleet_strategy.domain import (
    DeploymentNotFound,
    DeploymentStopped,
    OtherBody,
    StrategyInUse,
    StrategyNotFound,
    TooManyDeployments,
)


def body_hash(body: BaseModel) -> str:
    """Equal for requests that say the same; a field added later does not change it."""
    return hashlib.sha256(body.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def created(response: Response, path: str, *, is_replayed: bool) -> None:
    """The headers of an answer to a creation."""
    response.headers["Location"] = path
    if is_replayed:
        response.headers["Idempotent-Replayed"] = "true"


def invalid(field: str, message: str, code: str = "invalid", *, problem: str = "invalid_request") -> Problem:
    """422 that names the field."""
    return Problem(422, problem, f"{field} {message}.", errors=[FieldError(field, message, code)])


@contextmanager
def told_as_problems() -> Iterator[None]:
    try:
        yield
    except StrategyNotFound as error:
        raise Problem(404, "not_found", "There is no such strategy.") from error
    except DeploymentNotFound as error:
        raise Problem(404, "not_found", "There is no such deployment.") from error
    except StrategyInUse as error:
        raise Problem(409, "strategy_in_use", "A deployment of it is not stopped yet.") from error
    except DeploymentStopped as error:
        raise Problem(409, "deployment_stopped", "A stopped deployment stays stopped; make a new one.") from error
    except TooManyDeployments as error:
        raise Problem(409, "too_many_deployments", f"Stop one before making another: {error}.") from error
    except OtherBody as error:
        raise Problem(409, "idempotency_conflict", "This key was used before with another body.") from error


Json = dict[str, Any]
