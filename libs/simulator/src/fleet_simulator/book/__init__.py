"""The core book: orders of one symbol matched by price and time, in integers. Two engines, one interface.

`FastBook` brings numba with it, so it is imported from `fleet_simulator.book.fast` by who uses it.
"""

from fleet_simulator.book.book import Book, Level, Resting, Snapshot
from fleet_simulator.book.naive import NaiveBook

__all__ = ["Book", "Level", "NaiveBook", "Resting", "Snapshot"]
