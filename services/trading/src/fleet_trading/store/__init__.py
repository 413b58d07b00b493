"""PostgreSQL: the unit of work, what is kept in memory between transactions, and the reads of the API."""

from .cache import AccountCache
from .forgetting import Forgetting
from .reading import Readings
from .unit import PostgresUnit

__all__ = ["AccountCache", "Forgetting", "PostgresUnit", "Readings"]
