"""Logs: one JSON object a line on stdout, secrets taken out, the libraries' own logs included."""

import contextlib
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from .requests import current_request_id

REDACTED = "[redacted]"

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)|secret|token|authorization|api[-_]?key|signature|cookie|private[-_]?key|credential"
    r"|assertion|(^|_)otp|recovery[-_]?code",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*"  # a JWT
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"  # user:password of a URL
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|\$argon2[^\s)'\"]+"  # a hash that may be guessed at, as PostgreSQL quotes a row
    r"|(?i:(?<=password=)|(?<=secret=)|(?<=token=)|(?<=ticket=))[^\s&\"']+",
    re.DOTALL,
)
_MAX_DEPTH = 6

_encode = msgspec.json.Encoder(enc_hook=str).encode


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger for facts: `log.info("order_submitted", order_id=...)`."""
    return cast(FilteringBoundLogger, structlog.get_logger(source=name))


def redact(value: Any, depth: int = 0) -> Any:
    """The value without secrets: of fields so named, and JWTs, private keys and passwords inside texts."""
    if isinstance(value, str):
        return _SECRET_VALUE.sub(REDACTED, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): REDACTED if _SECRET_KEY.search(str(key)) else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    return _SECRET_VALUE.sub(REDACTED, str(value))


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return cast(EventDict, redact(event))


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return _encode(event)


def _add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = current_request_id()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Only once somebody has loaded the tracing SDK; importing it here would cost every process.
    if "opentelemetry.sdk.trace" in sys.modules:
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = f"{context.trace_id:032x}"
            event["span_id"] = f"{context.span_id:016x}"
    return event


class _ToStructlog(logging.Handler):
    """Takes the records of libraries that log through the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
        except Exception:
            self.handleError(record)


class _Stdout:
    """On a full disk lines are lost; nobody may end for it, least of all who tells that a task has died."""

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.buffer.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.buffer.flush()


def configure_logging(level: str, *, service: str, ordinal: int) -> None:
    """Sends all logs of this process, from `level` on, to stdout. Libraries are heard from warnings on, or at debug."""
    threshold = logging.getLevelNamesMapping()[level.upper()]

    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["ordinal"] = ordinal
        return event

    structlog.configure(
        processors=[
            _add_request,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            add_process,
            _add_trace,
            structlog.processors.format_exc_info,
            _redact_event,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, _Stdout())),
        cache_logger_on_first_use=True,
    )
    handler = _ToStructlog()
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO if threshold <= logging.DEBUG else max(threshold, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(True)
