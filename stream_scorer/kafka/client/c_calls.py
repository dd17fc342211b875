"""Lets compiled code read memory and call functions by address, and be called by address."""

from functools import cache

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE = ir.IntType(8).as_pointer()
_HALF = ir.IntType(32)
_WORD = ir.IntType(64)


def _answer(builder, arguments, result):
    """Call the function at the first address with the other words as arguments."""
    kind = ir.FunctionType(result, [_WORD] * (len(arguments) - 1))
    return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), list(arguments[1:]))


@intrinsic
def load_word(_, address):
    """Return the int64 at an address."""

    def generate(_context, builder, _signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], _WORD.as_pointer()))

    return types.int64(address), generate


@intrinsic
def load_half(_, address):
    """Return the int32 at an address, widened."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(builder.load(builder.inttoptr(arguments[0], _HALF.as_pointer())), _WORD)

    return types.int64(address), generate


@intrinsic
def copy_bytes(_, to, start, count):
    """Copy ``count`` bytes from one address to another."""

    def generate(context, builder, _signature, arguments):
        target, source = (builder.inttoptr(address, _BYTE) for address in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(to, start, count), generate


@intrinsic
def call_word(_, function, first, second):
    """Call a function of two words that returns one."""

    def generate(_context, builder, _signature, arguments):
        return _answer(builder, arguments, _WORD)

    return types.int64(function, first, second), generate


@intrinsic
def call_half(_, function, first, second):
    """Call a function of two words that returns an int."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_answer(builder, arguments, _HALF), _WORD)

    return types.int64(function, first, second), generate


@intrinsic
def call_free(_, function, first):
    """Call a function of one word that returns nothing."""

    def generate(context, builder, _signature, arguments):
        _answer(builder, arguments, ir.VoidType())
        return context.get_dummy_value()

    return types.void(function, first), generate


@intrinsic
def call_new(_, function, first):
    """Call a function of one word that returns one."""

    def generate(_context, builder, _signature, arguments):
        return _answer(builder, arguments, _WORD)

    return types.int64(function, first), generate


@intrinsic
def call_three(_, function, first, second, third):
    """Call a function of three words that returns one."""

    def generate(_context, builder, _signature, arguments):
        return _answer(builder, arguments, _WORD)

    return types.int64(function, first, second, third), generate


@intrinsic
def call_five(_, function, first, second, third, fourth, fifth):
    """Call a function of five words that returns an int."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_answer(builder, arguments, _HALF), _WORD)

    return types.int64(function, first, second, third, fourth, fifth), generate


@cache
def ignored_report():
    """Return a C function that ignores a delivery report: (client, message, opaque).

    It is machine code: the library calls it for each record, and it never needs the GIL. It is
    compiled at the first call, in 15 to 350 ms.
    """

    def ignore(client, message, opaque):
        """Do nothing."""

    arguments = types.voidptr, types.voidptr, types.voidptr
    return numba.cfunc(types.void(*arguments))(ignore)
