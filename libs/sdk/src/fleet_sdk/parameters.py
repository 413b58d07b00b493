"""Parameters of a strategy: a frozen typed struct that is read from JSON and whose errors name the field."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from fleet_sdk.decimals import MOST_DIGITS, is_bounded


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Subclass with typed fields and defaults. What types cannot say, `__post_init__` does: raise InvalidParameter."""


class InvalidParameter(ValueError):
    """A parameter that cannot be taken; `field` names it, `code` is stable: `required`, `unknown`, `invalid`."""

    def __init__(self, field: str, message: str, code: str = "invalid") -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message, self.code = field, message, code


P = TypeVar("P", bound=Parameters)


def read_parameters(kind: type[P], values: Mapping[str, object]) -> P:
    """The parameters of these values, as JSON brings them (a Decimal as a string or a whole number).

    Raises InvalidParameter for the first that is missing, unknown or wrong.
    """
    given = {name: _exact(kind, name, value) for name, value in values.items()}
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InvalidParameter):
            raise error.__cause__ from None
        raise _named(str(error)) from None


def parameters_schema(kind: type[Parameters]) -> dict[str, Any]:
    """JSON Schema (2020-12) of the parameters, with defaults."""
    return msgspec.json.schema(kind)


def _exact(kind: type[Parameters], name: str, value: object) -> object:
    """Refuses for a Decimal what is not exact or not bounded; msgspec would take a float, `NaN` and `1E+999999`."""
    if not any(field.name == name and field.type is Decimal for field in msgspec.structs.fields(kind)):
        return value
    if isinstance(value, float):
        raise InvalidParameter(name, f'must be a decimal as a string, such as "0.5", was the float {value}')
    if isinstance(value, str | int | Decimal) and not isinstance(value, bool):
        try:
            if is_bounded(Decimal(value)):
                return value
        except InvalidOperation:
            pass  # no number at all: said below
        raise InvalidParameter(name, f"must be a decimal number below 1E+{MOST_DIGITS}, was {str(value)[:100]}")
    return value


_MISSING = re.compile(r"missing required field `(.+?)`")
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
_AT = re.compile(r"^(.*) - at `\$\.(.+)`$")


def _named(message: str) -> InvalidParameter:
    if found := _MISSING.search(message):
        return InvalidParameter(found[1], "is required", "required")
    if found := _UNKNOWN.search(message):
        return InvalidParameter(found[1], "is not a parameter of this strategy", "unknown")
    if found := _AT.match(message):
        return InvalidParameter(found[2], found[1])
    return InvalidParameter("parameters", message)
