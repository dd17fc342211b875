"""How kernels are compiled and stored on disk, and a hint that prefetches memory.

Every kernel of the package is compiled by a decorator of this module. ``cache`` determines where
the machine code is stored, and until when. ``make test-bounds`` replaces these decorators by others
that check every access; see ``tests/bounds``.
"""

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stream_scorer.core.kernels import cache


def kernel(function):
    """Compile a function that allocates nothing.

    Then there are no references to count, which would cost more than most loops.
    """
    return _compile(function, _nrt=False)


def inlined(function):
    """Compile a function into each kernel that calls it: passing arrays costs more."""
    return _compile(function, _nrt=False, forceinline=True)


def allocating(function):
    """Compile a function that allocates arrays."""
    return _compile(function)


def numeric(function):
    """Compile a function whose divisions by zero give numpy's results instead of raising."""
    return _compile(function, error_model="numpy")


def brief(function):
    """Compile a function that keeps the GIL, because it is too short to release it."""
    return _compile(function, nogil=False)


def _compile(function, **options):  # noqa: ANN003 numba's options
    compiled = numba.njit(**{"nogil": True, **options})(function)
    cache.attach(compiled)
    return compiled


@intrinsic
def prefetch(_, array, index):  # noqa: ARG001 only the types matter here
    """Fetch the cache line of an element of a contiguous array before it is used."""

    def generate(context, builder, signature, arguments):
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [place.type],
            ir.FunctionType(ir.VoidType(), [place.type, word, word, word]),
        )
        builder.call(hint, [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
