"""What clients say on a socket, and the answers to it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fleet_chassis.problems import Problem, problem_body

ACCOUNT_CHANNELS = ("order_updates", "trades", "portfolio")
MARKET_DATA = "market_data"
ALERTS = "alerts"
MAX_SYMBOLS = 500
"""In one message."""


class Params(msgspec.Struct, forbid_unknown_fields=True):
    channel: Annotated[str, msgspec.Meta(max_length=50)]
    symbols: Annotated[list[str], msgspec.Meta(max_length=MAX_SYMBOLS)] = []


class SocketRequest(msgspec.Struct, forbid_unknown_fields=True):
    method: Literal["subscribe", "unsubscribe", "ping"]
    params: Params | None = None
    req_id: int | None = None


_request = msgspec.json.Decoder(SocketRequest)
_encode = msgspec.json.Encoder(enc_hook=str).encode


def parse(text: str | bytes) -> SocketRequest:
    """Raises Problem 400 or 422."""
    try:
        request = _request.decode(text)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_request", f"The message does not have the expected shape: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed_json", "The message is not valid JSON.") from error
    if request.method != "ping" and request.params is None:
        raise Problem(422, "invalid_request", f"{request.method} needs params.")
    return request


def done(request: SocketRequest, result: dict[str, Any], time_in: datetime, time_out: datetime) -> bytes:
    """The answer to a subscription that is in place, or given up."""
    return _encode(
        {
            "method": request.method,
            "success": True,
            "result": result,
            "req_id": request.req_id,
            "time_in": time_in,
            "time_out": time_out,
        }
    )


def refused(
    request: SocketRequest | None, problem: Problem, time_in: datetime, time_out: datetime, symbol: str | None = None
) -> bytes:
    """The answer to what cannot be done, with a problem as over HTTP."""
    answer: dict[str, Any] = {
        "method": None if request is None else request.method,
        "success": False,
        "problem": problem_body(problem, instance="/ws", request_id=""),
        "req_id": None if request is None else request.req_id,
        "time_in": time_in,
        "time_out": time_out,
    }
    if symbol is not None:
        answer["symbol"] = symbol
    return _encode(answer)


def pong(request: SocketRequest) -> bytes:
    return _encode({"method": "pong", "req_id": request.req_id})


HEARTBEAT = b'{"channel":"heartbeat"}'
