# mypy: disable-error-code="return-value,attr-defined,arg-type,no-untyped-call,assignment"
# numba infers the types of compiled functions, and is untyped itself.
"""Addresses that include the memory range that may be accessed through them.

In checked mode an address is a window's number and an offset into the window::

    bit 63  0
    bits 48 to 62   number of the window
    bits 0 to 47    offset, plus 2^47

A kernel computes with it as with a plain address. Each load and store checks that it is still
inside the window that the address was made for. Windows are entries of one table at a fixed place
in memory, so compiled code from a cache finds the table in the next process.

A load of a word may reach past its window into the spare bytes after it. The spare bits are
returned inverted, so that a result that depends on them is wrong.
"""

import ctypes
import mmap
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.extending import intrinsic, overload

_TABLE = 0x5EED_0000_0000
_WINDOWS = 1 << 15
_HEADER_BYTES = 64
_ENTRY_BYTES = 32
_NEXT, _FINDINGS, _FIRST = 0, 8, 16

_SHIFT = 48
_BIAS = np.int64(1) << np.int64(47)
_MASK = (np.int64(1) << np.int64(48)) - np.int64(1)
_WORD = 8

INDEX, LOAD, STORE, WINDOW, COPY, LINE = range(1, 7)
KINDS = {
    INDEX: "an index outside of its array",
    LOAD: "a load outside of its window",
    STORE: "a store outside of its window",
    WINDOW: "a window outside of the one that it was made from",
    COPY: "a copy from or to bytes outside of a window",
    LINE: "a line of cells outside of its array",
}


def _reserve() -> None:
    """Map the table to its fixed address, which must be free: it is used once per process."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    fixed = 0x100000  # MAP_FIXED_NOREPLACE
    size = _HEADER_BYTES + _WINDOWS * _ENTRY_BYTES
    place = library.mmap(
        _TABLE, size, mmap.PROT_READ | mmap.PROT_WRITE,
        mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | fixed, -1, 0,
    )  # fmt: skip
    if place != _TABLE:
        raise OSError(ctypes.get_errno(), "the table of windows has no place")


_reserve()


def findings() -> int:
    """Return the number of accesses that were out of bounds."""
    return ctypes.c_int64.from_address(_TABLE + _FINDINGS).value


def first_finding() -> str:
    """Return the kind of the first of them."""
    return KINDS.get(ctypes.c_int64.from_address(_TABLE + _FIRST).value, "none")


def forget() -> None:
    """Reset the count."""
    for at in (_FINDINGS, _FIRST):
        ctypes.c_int64.from_address(_TABLE + at).value = 0


def _typed_peek(typing_context: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(types.int64)
        return builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))

    return types.int64(types.int64), generate


def _typed_poke(typing_context: Any, at: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(types.int64)
        builder.store(arguments[1], builder.inttoptr(arguments[0], kind.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


_peek: Any = intrinsic(_typed_peek)
_poke: Any = intrinsic(_typed_poke)


@numba.njit(nogil=True)
def report(kind: int) -> None:
    """Count a finding."""
    if _peek(_TABLE + _FINDINGS) == 0:
        _poke(_TABLE + _FIRST, kind)
    _poke(_TABLE + _FINDINGS, _peek(_TABLE + _FINDINGS) + 1)


@numba.njit(nogil=True)
def enter(base: int, size: int, spare: int) -> int:
    """Make a window of ``size`` bytes, and ``spare`` bytes after it; return its address."""
    number = _peek(_TABLE + _NEXT) % (_WINDOWS - 1) + 1
    _poke(_TABLE + _NEXT, number)
    entry = _TABLE + _HEADER_BYTES + number * _ENTRY_BYTES
    _poke(entry, base)
    _poke(entry + 8, size)
    _poke(entry + 16, spare)
    return (np.int64(number) << np.int64(_SHIFT)) | _BIAS


@numba.njit(nogil=True)
def look(at: int) -> tuple[int, int, int, int]:
    """Return (base, size, spare, offset) of an address; size is -1 if it has no window."""
    number = np.int64(at) >> np.int64(_SHIFT)
    if number <= 0:
        return np.int64(0), np.int64(-1), np.int64(0), np.int64(0)
    entry = _TABLE + _HEADER_BYTES + number * _ENTRY_BYTES
    offset = (np.int64(at) & _MASK) - _BIAS
    return _peek(entry), _peek(entry + 8), _peek(entry + 16), offset


@numba.njit(nogil=True)
def place(at: int, width: int, kind: int) -> int:
    """Return the plain address of ``width`` bytes; all of them must be inside the window."""
    base, size, _, offset = look(at)
    if offset < 0 or offset + width > size:
        report(kind)
        raise IndexError("outside of its window")
    return base + offset


@numba.njit(nogil=True)
def window(at: int, size: int, limit: int) -> int:
    """Return the address of a window inside another one."""
    base, whole, spare, offset = look(at)
    behind = limit - at - size
    if size < 0 or behind < 0 or offset < 0 or offset + size > whole:
        report(WINDOW)
        raise IndexError("a window outside of its own")
    return enter(base + offset, size, min(behind, whole + spare - offset - size))


@numba.njit(nogil=True)
def within(at: int, other: int) -> int:
    """Return an address that can be compared with those of another window; it may be outside."""
    base, _, _, _ = look(at)
    base_of_other, _, _, offset = look(other)
    return (np.int64(at) & ~_MASK) | (_BIAS + base_of_other + offset - base)


@numba.njit(nogil=True)
def check_copy(target: int, source: int, size: int, slack: int) -> None:
    """Check that a copy stays inside both its windows."""
    _, whole, _, offset = look(source)
    _, room, _, to = look(target)
    if size < 0 or offset < 0 or offset + size > whole or to < 0 or to + size + slack > room:
        report(COPY)
        raise IndexError("a copy outside of its windows")


def of_array(array: Any) -> int:
    """Return the address of an array's first element; its window is the array."""
    raise NotImplementedError


def wrap(raw: dict[str, Any]) -> dict[str, Any]:  # noqa: C901 a function in it for each of the module's
    """Return the checked loads, stores and addresses that replace those of ``memory``.

    Args:
        raw: The names of the module ``memory``.
    """
    load_word_raw, address_raw, store_raw = raw["load_word"], raw["address"], raw["store"]

    def strict(load: Any, width: int) -> Any:
        @numba.njit(nogil=True)
        def checked(at: int) -> Any:
            return load(place(at, width, LOAD))

        return checked

    @numba.njit(nogil=True)
    def load_word(at: int) -> np.uint64:
        base, size, spare, offset = look(at)
        inside = size - offset
        # Even a copy of a few bytes loads two words.
        if offset < 0 or inside < -_WORD or offset + _WORD > size + spare:
            report(LOAD)
            raise IndexError("outside of its window")
        word = load_word_raw(base + offset)
        if inside <= 0:
            return ~word
        if inside < _WORD:
            return word ^ (~np.uint64(0) << np.uint64(8 * inside))
        return word

    def store(at: int, value: Any) -> None:
        raise NotImplementedError

    @overload(store)
    def _store(at: Any, value: Any) -> Any:
        width = value.bitwidth // 8

        def checked(at: Any, value: Any) -> Any:
            store_raw(place(at, width, STORE), value)

        return checked

    def address(array: Any) -> int:
        raise NotImplementedError

    @overload(address)
    def _address(array: Any) -> Any:
        def checked(array: Any) -> Any:
            return enter(address_raw(array), array.size * array.itemsize, 0)

        return checked

    def pinned(at: int, size: int, spare: int = 0) -> int:
        return int(enter(at, size, spare))

    return {
        "address": address, "window": window, "within": within, "pinned": pinned, "store": store,
        "load_word": load_word,
        "load_byte": strict(raw["load_byte"], 1), "load_int32": strict(raw["load_int32"], 4),
        "load_int64": strict(raw["load_int64"], 8), "load_float32": strict(raw["load_float32"], 4),
    }  # fmt: skip
