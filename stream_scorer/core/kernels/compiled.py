"""How kernels are compiled and kept on disk, and the hint that fetches memory ahead.

Every kernel of the package is compiled by a decorator of this module. ``cache`` says where the
machine code is kept, and until when. ``make test-bounds`` puts other decorators in the place of
these, which check every access; see ``tests/bounds``.
"""

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stream_scorer.core.kernels import cache


def kernel(function):
    """Compile a function that allocates nothing.

    Without allocations there is nothing to count references of, which costs more than most loops.
    """
    return _compile(function, _nrt=False)


def inlined(function):
    """Compile a function into each kernel that calls it: handing arrays over costs more."""
    return _compile(function, _nrt=False, forceinline=True)


def allocating(function):
    """Compile a function that makes arrays."""
    return _compile(function)


def numeric(function):
    """Compile a function whose divisions by zero give what numpy gives, and raise nothing."""
    return _compile(function, error_model="numpy")


def brief(function):
    """Compile a function that keeps the GIL: it is over before a busy thread would give it back."""
    return _compile(function, nogil=False)


def _compile(function, **options):  # noqa: ANN003 numba's own
    compiled = numba.njit(**{"nogil": True, **options})(function)
    cache.attach(compiled)
    return compiled


@intrinsic
def prefetch(_, array, index):  # noqa: ARG001 the types alone matter here
    """Ask for the cache line of an array's element ahead of its use; contiguous arrays."""

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
