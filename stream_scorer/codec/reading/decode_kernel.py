"""The kernel that reads Confluent-framed Avro in place: no allocation for a record, no GIL.

One walk checks the bytes, and stores the fields that the program names into columns in Arrow's
layout. Positions during the walk are addresses. Bytes are loaded as words if the word is inside the
batch's buffer; bytes after the record in such a word have no effect.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.opcodes import (
    ABSENT,
    BIT,
    BLOCK,
    BOOL,
    BOOLEAN,
    BRANCH,
    BROKEN,
    BYTES,
    CALL,
    COUNT_LIMIT,
    DATA,
    DEPTH,
    DOUBLE,
    DROPPED,
    END,
    ENUM,
    FIXED,
    FLOAT,
    FLOAT32,
    FLOAT64,
    INT,
    ITEMS,
    JUMP,
    LEFT,
    LENGTH,
    LONG,
    NEXT,
    NULL,
    OPTIONAL,
    PRESENT,
    RETURN,
    SKIP,
    STEPS,
    STEPS_BASE,
    STRING,
    STRING_LIMIT,
    SYMBOL,
    TEXT,
    TRUNCATED,
    UNION,
    UNKNOWN_SYMBOL,
    UTF8,
    VALIDITY,
    VALUES,
    VARINT,
)
from stream_scorer.codec.reading.read_kernels import (
    ascii_only,
    put_bit,
    put_null,
    put_number,
    utf8,
    varint,
)
from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.core.kernels.memory import (
    HIGH_BITS,
    address,
    copy,
    load_byte,
    load_float32,
    load_int32,
    load_word,
    store,
    window,
    within,
)
from stream_scorer.ports import Int64

Bytes = NDArray[np.uint8]

_DEPTH_MAX: Final = 64
_HEADER: Final = 5
_PARTS: Final = 3
_NONE: Final = np.iinfo(np.int64).max
_CALLED: Final = -2
"""In place of a block's end: this level was entered by a call."""


@numeric
def walk(  # noqa: C901, PLR0912, PLR0915 one loop with a branch per operation
    data: Bytes,
    offsets: Int64,
    rows: Int64,
    code: Int64,
    symbols: Int64,
    symbol_text: Bytes,
    string_max: int,
    items_max: int,
    steps_per_byte: int,
    arena: Bytes,
    regions: Int64,
    status: Bytes,
    position: Int64,
    where: Int64,
) -> int:
    """Walk the given rows and store the good ones, one after the other.

    Args:
        data: All payloads.
        offsets: int64[n + 1], where each payload begins.
        rows: int64[r], the rows to walk.
        code: int64[k, 5]: operation, two operands, number and kind of the column.
        symbols: int64[s, 2], start and size in ``symbol_text``; size -1 if the reader does not know
            the symbol.
        symbol_text: The symbols one after the other, and some spare bytes.
        string_max: Maximum bytes of a string.
        items_max: Maximum items of an array or map.
        steps_per_byte: A payload of b bytes takes at most this times b, plus STEPS_BASE, steps.
        arena: The columns' memory, large enough for r rows of these payloads.
        regions: int64[c, 6], where in it the parts of a column begin (-1 for none), and their
            sizes.
        status: uint8[r], written: the fault of each row; 0 is good.
        position: int64[r], written: the byte of its payload at which a refused row fails.
        where: int64[r], written: the step at which it fails.

    Returns:
        The number of good rows, which is the columns' length.
    """
    left = np.empty(_DEPTH_MAX, np.int64)  # items left in the block; a call's return step
    total = np.empty(_DEPTH_MAX, np.int64)  # items of all blocks so far
    block_end = np.empty(_DEPTH_MAX, np.int64)  # where a sized block must end, or -1
    base = address(data)
    last_byte = base + len(data)
    texts = address(symbol_text)
    texts_limit = texts + len(symbol_text)
    columns = address(arena)
    places = np.zeros((len(regions), _PARTS), np.int64)
    for column in range(len(regions)):
        for part in range(_PARTS):
            if regions[column, part] >= 0:
                place = columns + regions[column, part]
                size = regions[column, _PARTS + part]
                places[column, part] = window(place, size, place + size)
        if regions[column, DATA] >= 0:
            store(places[column, VALUES], np.int32(0))
    good = 0
    for number in range(len(rows)):
        row = rows[number]
        start = base + offsets[row]
        start = window(start, offsets[row + 1] - offsets[row], last_byte)
        at = start + _HEADER
        end = within(start, base + offsets[row + 1])
        limit = within(start, last_byte)
        step = np.int64(0)
        depth = 0
        level = 0
        failed = 0
        # Every step that is not counted takes at least one byte, so this bounds all steps.
        spare = STEPS_BASE + (steps_per_byte - 1) * (end - start)
        # A value that the reader cannot take counts only if all bytes are valid.
        refused = _NONE
        refused_step = np.int64(0)
        refused_why = 0
        while failed == 0:
            operation = code[step, 0]
            kind = code[step, 4]
            column = code[step, 3]
            if operation <= UNION:
                byte = np.int64(load_byte(at)) if at < end else 0x80
                if byte < 0x80:  # noqa: PLR2004 one byte: the common case
                    value = (byte >> 1) ^ -(byte & 1)
                    after = at + 1
                else:
                    value, after, failed = varint(at, end, limit)
                    if failed != 0:
                        break
                if operation in (STRING, BYTES):
                    at = after
                    if value < 0:
                        failed = LENGTH
                    elif value > end - at:
                        failed = TRUNCATED
                    elif value > string_max:
                        failed = STRING_LIMIT
                    else:
                        if kind == TEXT:
                            ends = places[column, VALUES] + 4 * good
                            last = np.int64(load_int32(ends))
                            seen = copy(places[column, DATA] + last, at, value, limit)
                            store(ends + 4, np.int32(last + value))
                            plain = (seen & HIGH_BITS) == 0
                        else:
                            plain = operation == BYTES or ascii_only(at, at + value)
                        if not plain and operation == STRING and not utf8(at, at + value):
                            failed = UTF8
                            break
                        at += value
                        step += 1
                elif operation == OPTIONAL:
                    at = after
                    if value < 0 or value > 1:
                        failed = BRANCH
                    elif value == code[step, 1]:
                        if kind != DROPPED:
                            if places[column, VALIDITY] != 0:
                                put_bit(places[column, VALIDITY], good, False)
                                put_null(places[column, VALUES], good, kind)
                            elif column < refused:
                                refused, refused_step, refused_why = column, step, NULL
                        step = code[step, 2]
                    else:
                        if kind != DROPPED and places[column, VALIDITY] != 0:
                            put_bit(places[column, VALIDITY], good, True)
                        step += 1
                elif operation == LONG:
                    at = after
                    if kind != DROPPED:
                        put_number(places[column, VALUES], good, kind, value)
                    step += 1
                elif operation == INT:
                    if value < -2147483648 or value > 2147483647:  # noqa: PLR2004 int32
                        failed = VARINT
                    else:
                        if kind != DROPPED:
                            put_number(places[column, VALUES], good, kind, value)
                        at = after
                        step += 1
                elif operation == ENUM:
                    at = after
                    if value < 0 or value >= code[step, 1]:
                        failed = SYMBOL
                    else:
                        if kind == TEXT:
                            symbol = code[step, 2] + value
                            size = symbols[symbol, 1]
                            if size >= 0:
                                ends = places[column, VALUES] + 4 * good
                                last = np.int64(load_int32(ends))
                                copy(
                                    places[column, DATA] + last,
                                    texts + symbols[symbol, 0], size, texts_limit,
                                )  # fmt: skip
                                store(ends + 4, np.int32(last + size))
                            elif column < refused:
                                refused, refused_step, refused_why = column, step, UNKNOWN_SYMBOL
                        step += 1
                else:  # UNION
                    at = after
                    if value < 0 or value >= code[step, 1]:
                        failed = BRANCH
                    else:
                        step += 1 + value
            elif operation == BOOLEAN:
                if at >= end:
                    failed = TRUNCATED
                elif load_byte(at) > 1:
                    failed = BOOL
                else:
                    if kind == BIT:
                        put_bit(places[column, VALUES], good, load_byte(at) == 1)
                    at += 1
                    step += 1
            elif operation == END:
                if at != end:
                    failed = LEFT
                elif refused != _NONE:
                    failed = refused_why
                    step = refused_step
                break
            elif operation in (FLOAT, DOUBLE):
                width = 4 if operation == FLOAT else 8
                if width > end - at:
                    failed = TRUNCATED
                else:
                    if kind == FLOAT32:
                        store(places[column, VALUES] + 4 * good, load_float32(at))
                    elif kind == FLOAT64 and operation == FLOAT:
                        store(places[column, VALUES] + 8 * good, np.float64(load_float32(at)))
                    elif kind == FLOAT64:
                        store(places[column, VALUES] + 8 * good, load_word(at))
                    at += width
                    step += 1
            else:
                spare -= 1
                if spare < 0:
                    failed = STEPS
                elif operation == JUMP:
                    step = code[step, 1]
                elif operation in (ITEMS, NEXT):
                    if operation == ITEMS:
                        if depth == _DEPTH_MAX:
                            failed = DEPTH
                            break
                        total[depth] = 0
                        depth += 1
                    elif depth == 0 or block_end[depth - 1] == _CALLED:
                        failed = BROKEN
                        break
                    else:
                        left[depth - 1] -= 1
                        step = code[step, 1]
                        if left[depth - 1] > 0:
                            step += 1
                            continue
                        if block_end[depth - 1] >= 0 and block_end[depth - 1] != at:
                            failed = BLOCK
                            break
                    # Here step is that of ITEMS, and the header of a block follows.
                    count, at, failed = varint(at, end, limit)
                    if failed != 0:
                        break
                    block_end[depth - 1] = -1
                    if count < 0:
                        size, at, failed = varint(at, end, limit)
                        if failed != 0:
                            break
                        if size < 0 or size > end - at:
                            failed = BLOCK
                            break
                        block_end[depth - 1] = at + size
                    if count == 0:
                        depth -= 1
                        step = code[step, 1]
                    else:
                        count = abs(count)
                        # The smallest int64 has no positive counterpart.
                        if count < 0 or count > items_max - total[depth - 1]:
                            failed = COUNT_LIMIT
                        else:
                            total[depth - 1] += count
                            left[depth - 1] = count
                            step += 1
                elif operation in (SKIP, FIXED):
                    size = code[step, 1]
                    if size < 0 or size > end - at:
                        failed = TRUNCATED
                    else:
                        if operation == FIXED:
                            ends = places[column, VALUES] + 4 * good
                            last = np.int64(load_int32(ends))
                            copy(places[column, DATA] + last, at, size, limit)
                            store(ends + 4, np.int32(last + size))
                        at += size
                        step += 1
                elif operation == CALL:
                    level += code[step, 2]
                    if depth == _DEPTH_MAX or level > _DEPTH_MAX:
                        failed = DEPTH
                    else:
                        left[depth] = step + 1
                        total[depth] = code[step, 2]
                        block_end[depth] = _CALLED
                        depth += 1
                        step = code[step, 1]
                elif operation == RETURN and depth > 0 and block_end[depth - 1] == _CALLED:
                    depth -= 1
                    level -= total[depth]
                    step = left[depth]
                elif operation == PRESENT:
                    put_bit(places[column, VALIDITY], good, True)
                    step += 1
                elif operation == ABSENT:
                    put_bit(places[column, VALIDITY], good, False)
                    put_null(places[column, VALUES], good, kind)
                    step += 1
                else:
                    failed = BROKEN
        status[number] = failed
        if failed == 0:
            good += 1
        else:
            position[number] = at - start
            where[number] = step
    return good
