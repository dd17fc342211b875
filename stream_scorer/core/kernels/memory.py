"""Unaligned loads and stores at an address, for the kernels that copy bytes.

A loop over uint8 takes a step for each byte, and a call of memcpy takes longer than most of our
strings do. So bytes are copied in words of eight, and a short run in two words, whatever its
length. Every buffer that is written has :data:`SLACK` bytes to spare, and no word is loaded that
extends past the source's buffer. Little-endian machines only.

Addresses come from arrays that the caller keeps alive. ``window``, ``within`` and ``pinned``
declare which bytes an address may access. They have no cost and no effect here; ``make
test-bounds`` checks every load, store and copy against them.
"""

from typing import Any, Final, TypeAlias

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from stream_scorer.core.kernels.compiled import numeric

SLACK: Final = 16
"""Number of bytes after the end of a written buffer that a copy may overwrite."""

Number: TypeAlias = int | np.int64
"""An int64 in a kernel."""

_WORD: Final = 8
HIGH_BITS: Final = np.uint64(0x8080808080808080)


def _typed_address(typing_context, array):  # noqa: ARG001 numba's protocol
    """Return the address of an array's first element."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(view.data, context.get_value_type(types.int64))

    return types.int64(array), generate


def _loading(result: Any) -> Any:
    """Return the typing function of a load of one ``result`` (a numba type)."""

    def typed(typing_context, at):  # noqa: ARG001 numba's protocol
        def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
            kind = context.get_value_type(result)
            return builder.load(builder.inttoptr(arguments[0], kind.as_pointer()), align=1)

        return result(types.int64), generate

    return typed


def _recast(result: Any) -> Any:
    """Return the typing function that reinterprets 64 bits as a ``result`` (a numba type)."""

    def typed(typing_context, value):  # noqa: ARG001 numba's protocol
        def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
            return builder.bitcast(arguments[0], context.get_value_type(result))

        return result(value), generate

    return typed


def _typed_store(typing_context, at, value):  # noqa: ARG001 numba's protocol
    """Store a number at an address, in its own width."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        place = builder.inttoptr(arguments[0], arguments[1].type.as_pointer())
        builder.store(arguments[1], place, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, value), generate


def _typed_bits(typing_context, word):  # noqa: ARG001 numba's protocol
    """Return the number of low bits of a non-zero uint64 that are zero."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 1))

    return types.uint64(types.uint64), generate


def _typed_leading(typing_context, word):  # noqa: ARG001 numba's protocol
    """Return the number of high bits of a non-zero uint64 that are zero."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, 1))

    return types.uint64(types.uint64), generate


def _typed_window(typing_context, at, size, limit):  # noqa: ARG001 numba's protocol
    """Return an address from which ``size`` bytes may be read and written.

    Words may be loaded up to ``limit``; the bytes after those ``size`` must not affect a result.
    """

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        return arguments[0]

    return types.int64(types.int64, types.int64, types.int64), generate


def _typed_within(typing_context, at, place):  # noqa: ARG001 numba's protocol
    """Return ``place`` as an address that can be compared with those made from ``at``."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        return arguments[1]

    return types.int64(types.int64, types.int64), generate


def pinned(at: int, size: int, spare: int = 0) -> int:
    """Return an address for a kernel's program.

    Args:
        at: The beginning of a buffer that the caller keeps alive.
        size: Number of bytes that the kernel may read there.
        spare: Number of bytes after them that a word may extend into.
    """
    del size, spare
    return at


address: Any = intrinsic(_typed_address)
window: Any = intrinsic(_typed_window)
within: Any = intrinsic(_typed_within)
store: Any = intrinsic(_typed_store)
trailing_zeros: Any = intrinsic(_typed_bits)
leading_zeros: Any = intrinsic(_typed_leading)
bits_of: Any = intrinsic(_recast(types.int64))
double_of: Any = intrinsic(_recast(types.float64))
load_byte: Any = intrinsic(_loading(types.uint8))
load_int32: Any = intrinsic(_loading(types.int32))
load_int64: Any = intrinsic(_loading(types.int64))
load_word: Any = intrinsic(_loading(types.uint64))
load_float32: Any = intrinsic(_loading(types.float32))


@numeric
def low_bytes(count: Number) -> np.uint64:
    """Return a mask of the ``count`` low bytes, 0 to 8, of a word."""
    if count <= 0:
        return np.uint64(0)
    if count >= _WORD:
        return ~np.uint64(0)
    return (np.uint64(1) << np.uint64(8 * count)) - np.uint64(1)


@numeric
def copy(target: Number, source: Number, size: Number, limit: Number) -> np.uint64:
    """Copy ``size`` bytes between addresses; up to :data:`SLACK` bytes more may be overwritten.

    Args:
        target: Address to write to; ``size + SLACK`` bytes are writable.
        source: Address to read from; ``size`` bytes are readable.
        size: Number of bytes, zero or more.
        limit: The address after the last readable byte of the source's buffer.

    Returns:
        All words of the source ORed: a bit of :data:`HIGH_BITS` is set if a byte is not ASCII.
    """
    seen = np.uint64(0)
    if size <= 2 * _WORD and source + 2 * _WORD <= limit:
        # Most strings take this way, which does not branch on their length.
        first = load_word(source)
        second = load_word(source + _WORD)
        store(target, first)
        store(target + _WORD, second)
        return (first & low_bytes(size)) | (second & low_bytes(size - _WORD))
    done = 0
    while done + _WORD <= size:
        word = load_word(source + done)
        store(target + done, word)
        seen |= word
        done += _WORD
    if size >= _WORD:
        # The last word ends with the run and overlaps the one before.
        word = load_word(source + size - _WORD)
        store(target + size - _WORD, word)
        return seen | word
    while done < size:
        byte = load_byte(source + done)
        store(target + done, byte)
        seen |= np.uint64(byte)
        done += 1
    return seen
