"""Lines of 512 bits in kernels: one vector register, or two or four on older processors.

Without them, LLVM vectorises the loop over the features of a row with gathers, which takes four
times as long as one load for each feature.
"""

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

WORDS: Final = 8
_VECTOR: Final = ir.VectorType(ir.IntType(64), WORDS)


class _LineType(types.Type):
    """The type of a line in a kernel; it never leaves it."""

    def __init__(self) -> None:
        super().__init__(name="Line")


LINE: Final = _LineType()


@register_model(_LineType)
class _LineModel(PrimitiveModel):
    """A line is a vector of eight words of 64 bits."""

    def __init__(self, manager: Any, line_type: Any) -> None:
        super().__init__(manager, line_type, _VECTOR)


def _place(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Return the address of an array of uint64[8]."""
    data = cgutils.create_struct_proxy(kind)(context, builder, array).data
    return builder.bitcast(data, _VECTOR.as_pointer())


def _full_line(_: Any) -> Any:
    """Return a line in which all bits are set."""

    def generate(_: Any, __: Any, ___: Any, ____: Any) -> Any:
        return ir.Constant(_VECTOR, [ir.Constant(ir.IntType(64), -1)] * WORDS)

    return LINE(), generate


def _and_line(_: Any, line: Any, array: Any) -> Any:
    """Return a line AND the one in an array of uint64[8]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[1], arguments[1])
        loaded = builder.load(place)
        loaded.align = 8
        return builder.and_(arguments[0], loaded)

    return LINE(line, array), generate


def _store_line(_: Any, line: Any, array: Any) -> Any:
    """Write a line to an array of uint64[8]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[1], arguments[1])
        builder.store(arguments[0], place).align = 8
        return context.get_dummy_value()

    return types.void(line, array), generate


def _lowest_bit(_: Any, word: Any) -> Any:
    """Return the number of the lowest set bit of a non-zero word."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        count = builder.cttz(arguments[0], context.get_constant(types.boolean, 1))
        return context.cast(builder, count, word, types.uintp)

    return types.uintp(word), generate


full_line: Any = intrinsic(_full_line)
and_line: Any = intrinsic(_and_line)
store_line: Any = intrinsic(_store_line)
lowest_bit: Any = intrinsic(_lowest_bit)
