"""How the fast book is compiled. The only place that knows numba."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from fleet_simulator.book.machine_code import folder

# numba came first and has not seen what machine_code says of the processor.
config.reload_config()  # type: ignore[no-untyped-call]

F = TypeVar("F", bound=Callable[..., Any])

NONE: Final = types.void
INT: Final = types.int64
WORD: Final = types.uint64
FLAG: Final = types.boolean
CELLS: Final = types.Array(types.int64, 1, "C")
ROWS: Final = types.Array(types.int64, 2, "C")


def inner(function: F) -> F:
    """For what only compiled code calls."""
    return cast(F, njit(error_model="numpy", nogil=True)(function))


def inline(function: F) -> F:
    """For what is so short, or called so often, that its body stands where it is called."""
    return cast(F, njit(error_model="numpy", nogil=True, forceinline=True)(function))


def entry(result: Any, *arguments: Any) -> Callable[[F], F]:
    """For what Python calls: compiled for these types alone when its module is imported, or loaded if that was done."""

    def compile_now(function: F) -> F:
        before = config.CACHE_DIR  # type: ignore[attr-defined]
        config.CACHE_DIR = str(folder())  # type: ignore[attr-defined]
        try:
            return cast(F, njit(result(*arguments), cache=True, error_model="numpy", nogil=True)(function))
        finally:
            config.CACHE_DIR = before  # type: ignore[attr-defined]

    return compile_now


def _pointer(_typing: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return make_array(array)(context, builder, arguments[0]).data  # type: ignore[no-untyped-call]

    return types.CPointer(INT)(array), generate  # type: ignore[no-untyped-call]


pointer: Callable[[NDArray[np.int64]], NDArray[np.int64]] = cast(Any, intrinsic(_pointer))
"""The first cell of an array, to be indexed as one dimension. The array itself is nine words that every call would copy
and count the references of: that took four fifths of the time. Who calls an entry keeps the arrays alive."""


def _at(_typing: Any, _address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())

    return types.CPointer(INT)(INT), generate  # type: ignore[no-untyped-call]


at: Callable[[int], NDArray[np.int64]] = cast(Any, intrinsic(_at))
"""The cell at an address, as `pointer` gives it."""


def _prefetch(_typing: Any, _cells: Any, _place: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        cell = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), byte)
        builder.call(fetch, [cell, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return NONE(types.CPointer(INT), INT), generate  # type: ignore[no-untyped-call]


prefetch: Callable[[NDArray[np.int64], int], None] = cast(Any, intrinsic(_prefetch))
"""Tells the processor that this cell will be wanted. A place that does not exist does no harm."""


def _lowest_bit(_typing: Any, _word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return INT(INT), generate


lowest_bit: Callable[[int], int] = cast(Any, intrinsic(_lowest_bit))
"""Number of the lowest bit that is set, of a word that is not 0."""
