"""How kernels are compiled and kept on disk, and the hint that fetches memory ahead."""

import hashlib
from pathlib import Path

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = _sources()


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


def _compile(function, **options):  # noqa: ANN003 numba's own
    """Compile a function without the GIL; its machine code is kept until any kernel changes.

    numba keeps code per file, but a kernel holds the code of those that it calls in other files.
    """
    compiled = numba.njit(nogil=True, cache=True, **options)(function)
    file = getattr(compiled._cache, "_cache_file", None)  # noqa: SLF001 there is no public way
    if file is not None:
        file._source_stamp = _STAMP  # noqa: SLF001 the same
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
