"""Compiled loops between the library's messages and columns; they run without the GIL.

Messages are read in place: ``rd_kafka_message_t`` and ``rd_kafka_vu_t`` are public and have the
same layout in every version with this soname. Functions are called by address, so that the compiled
code can be cached on disk.
"""

import numpy as np
from numba import types

from stream_scorer.core.kernels.compiled import allocating
from stream_scorer.kafka.client.c_calls import (
    call_five,
    call_free,
    call_half,
    call_new,
    call_three,
    call_word,
    copy_bytes,
    load_half,
    load_word,
)

MESSAGE_WORDS = 9
"""Length of a message in 64-bit words."""

ARGUMENTS = 7
ARGUMENT_WORDS = 9
"""Number of arguments of ``produceva``, and the length of one in 64-bit words."""

# Offsets of a message's fields in bytes.
_ERR, _PARTITION, _PAYLOAD, _LENGTH, _KEY, _KEY_LENGTH, _OFFSET = 0, 16, 24, 32, 40, 48, 56
# The same fields as word indices, for writing.
_PARTITION_AT, _PAYLOAD_AT, _LENGTH_AT, _KEY_AT, _KEY_LENGTH_AT = 2, 3, 4, 5, 6
_LOW_HALF = 0xFFFFFFFF
_LOG_APPEND_TIME = 2
"""``RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME``."""

TIMESTAMP_WORD = 7
"""Word index of the time of a message that is sent individually; 0 means the time of the call. It
is the word of the offset, which a message does not have before it is sent."""

HEADERS_MOST = 128
"""Maximum number of headers that are read of a record; further ones are left out."""
HEADER_BYTES_MOST = 64 * 1024
"""Maximum number of bytes of header names and values that are read of a record."""
BATCH_HEADER_BYTES_MOST = 32 * 1024 * 1024
"""Maximum number of bytes of header names and values that one poll copies."""
HEADER_WORDS = 4
"""Number of words for the results of reading a header: the list, name, value and size."""


@allocating
def measure(messages):
    """Return (bytes of all values, bytes of all keys, errors among the messages)."""
    values = keys = errors = np.int64(0)
    for message in messages:
        if load_half(message + _ERR) != 0:
            errors += 1
        else:
            values += load_word(message + _LENGTH)
            keys += load_word(message + _KEY_LENGTH)
    return values, keys, errors


@allocating
def take(
    messages, value_data, value_offsets, value_null, key_data, key_offsets, key_null,
    partition, offset, timestamp, appended, traced, scratch, budget, timestamp_of, headers_of,
    count_of, destroy,
):  # fmt: skip
    """Copy messages without errors into columns and free those without headers to read.

    The library parses all headers of a message at the first access. So a message's headers are not
    read once the messages before it had ``budget`` headers in total.

    Returns (null values, null keys, messages with headers); ``traced`` marks those with headers,
    and ``appended`` those whose timestamp is the broker's.
    """
    null_values = null_keys = with_headers = np.int64(0)
    value_at = key_at = np.int64(0)
    value_base, key_base = value_data.ctypes.data, key_data.ctypes.data
    answer = scratch.ctypes.data
    value_offsets[0] = key_offsets[0] = 0
    for row in range(len(messages)):
        message = messages[row]
        length = load_word(message + _LENGTH)
        payload = load_word(message + _PAYLOAD)
        copy_bytes(value_base + value_at, payload, length)
        value_null[row] = payload == 0
        null_values += payload == 0
        value_at += length
        value_offsets[row + 1] = value_at
        length = load_word(message + _KEY_LENGTH)
        payload = load_word(message + _KEY)
        copy_bytes(key_base + key_at, payload, length)
        key_null[row] = payload == 0
        null_keys += payload == 0
        key_at += length
        key_offsets[row + 1] = key_at
        partition[row] = load_half(message + _PARTITION)
        offset[row] = load_word(message + _OFFSET)
        timestamp[row] = call_word(timestamp_of, message, answer)
        appended[row] = load_half(answer) == _LOG_APPEND_TIME
        found = budget > 0 and call_half(headers_of, message, answer) == 0
        if found:
            budget -= call_new(count_of, load_word(answer))
        traced[row] = found
        with_headers += found
        if not found:
            call_free(destroy, message)
    return null_values, null_keys, with_headers


@allocating
def measure_headers(messages, counts, headless, scratch, headers_of, header_of, length_of):
    """Count the headers to read of each message, within the limits of a record and of a poll.

    ``scratch`` is int64[HEADER_WORDS]. Counting of a record stops at the first header over a limit;
    ``headless`` marks those for which it is the poll's.

    Returns (headers, bytes of all names, bytes of all values).
    """
    headers = name_bytes = text_bytes = np.int64(0)
    answer = scratch.ctypes.data
    for row in range(len(messages)):
        counts[row] = used = np.int64(0)
        headless[row] = False
        if call_half(headers_of, messages[row], answer) != 0:
            continue
        while (
            counts[row] < HEADERS_MOST
            and call_five(
                header_of, scratch[0], counts[row], answer + 8, answer + 16, answer + 24
            ) == 0
        ):  # fmt: skip
            name = call_new(length_of, scratch[1])
            text = scratch[3] if scratch[2] else 0
            used += name + text
            headless[row] = name_bytes + text_bytes + name + text > BATCH_HEADER_BYTES_MOST
            if used > HEADER_BYTES_MOST or headless[row]:
                break
            name_bytes += name
            text_bytes += text
            counts[row] += 1
        headers += counts[row]
    return headers, name_bytes, text_bytes


@allocating
def take_headers(
    messages, counts, name_data, name_offsets, text_data, text_offsets, text_null, scratch,
    headers_of, header_of, length_of, destroy,
):  # fmt: skip
    """Copy the counted headers of the messages into columns, and free the messages."""
    name_base, text_base = name_data.ctypes.data, text_data.ctypes.data
    answer = scratch.ctypes.data
    name_at = text_at = at = np.int64(0)
    name_offsets[0] = text_offsets[0] = 0
    for row in range(len(messages)):
        call_half(headers_of, messages[row], answer)
        for index in range(counts[row]):
            call_five(header_of, scratch[0], index, answer + 8, answer + 16, answer + 24)
            length = call_new(length_of, scratch[1])
            copy_bytes(name_base + name_at, scratch[1], length)
            name_at += length
            text_null[at] = scratch[2] == 0
            length = scratch[3] if scratch[2] else 0
            copy_bytes(text_base + text_at, scratch[2], length)
            text_at += length
            at += 1
            name_offsets[at], text_offsets[at] = name_at, text_at
        call_free(destroy, messages[row])


@allocating
def fill(
    messages, value_data, value_offsets, value_null, key_data, key_offsets, key_null, partition
):
    """Write n messages (int64[n, MESSAGE_WORDS]) that point into columns.

    The arrays of nulls and of partitions have n rows, or 0 rows if there are no nulls and no
    explicit partitions.
    """
    value_base, key_base = value_data.ctypes.data, key_data.ctypes.data
    for row in range(len(messages)):
        message = messages[row]
        message[:] = 0
        message[_PARTITION_AT] = (partition[row] if len(partition) else -1) & _LOW_HALF
        if not (len(value_null) and value_null[row]):
            message[_PAYLOAD_AT] = value_base + value_offsets[row]
            message[_LENGTH_AT] = value_offsets[row + 1] - value_offsets[row]
        if not (len(key_null) and key_null[row]):
            message[_KEY_AT] = key_base + key_offsets[row]
            message[_KEY_LENGTH_AT] = key_offsets[row + 1] - key_offsets[row]


@allocating
def error_of(messages):
    """Return the first error among produced messages; 0 for none."""
    for row in range(len(messages)):
        code = messages[row, 0] & _LOW_HALF
        if code:
            return code if code < 1 << 31 else code - (1 << 32)
    return np.int64(0)


@allocating
def send_with_headers(
    client, messages, arguments, name_data, name_offsets, text_data, text_offsets, text_null,
    counts, produce, headers_new, header_add,
):  # fmt: skip
    """Produce messages one by one with their headers; stop at an error.

    ``arguments`` (int64[ARGUMENTS, ARGUMENT_WORDS]) contains topic, partition, value, key, flags,
    time and headers; topic and flags are already filled in. Row i has ``counts[i]`` of the headers,
    in order.

    Returns the address of an error object; 0 for none.
    """
    name_base, text_base = name_data.ctypes.data, text_data.ctypes.data
    header = np.int64(0)
    for row in range(len(messages)):
        arguments[1, 1] = messages[row, _PARTITION_AT]
        arguments[2, 1] = messages[row, _PAYLOAD_AT]
        arguments[2, 2] = messages[row, _LENGTH_AT]
        arguments[3, 1] = messages[row, _KEY_AT]
        arguments[3, 2] = messages[row, _KEY_LENGTH_AT]
        arguments[5, 1] = messages[row, TIMESTAMP_WORD]
        listed = np.int64(0)
        if counts[row]:
            listed = call_new(headers_new, counts[row])
            for _ in range(counts[row]):
                name, text = name_offsets[header], text_offsets[header]
                call_five(
                    header_add, listed, name_base + name, name_offsets[header + 1] - name,
                    0 if text_null[header] else text_base + text, text_offsets[header + 1] - text,
                )  # fmt: skip
                header += 1
        arguments[6, 1] = listed
        used = ARGUMENTS if listed else ARGUMENTS - 1
        error = call_three(produce, client, arguments.ctypes.data, used)
        if error:
            return error, listed
    return np.int64(0), np.int64(0)


def compile_all() -> None:
    """Compile every kernel for the types that the binding passes, without calling any.

    Otherwise, if code cannot be cached on disk, each process's first message waits for compilation.
    """
    words, rows = types.int64[::1], types.int64[:, ::1]
    nulls, numbers, address = types.bool_[::1], types.int32[::1], types.int64
    data = types.uint8[::1]
    text = types.Array(types.uint8, 1, "C", readonly=True)
    measure.compile((words,))
    take.compile(
        (words, data, words, nulls, data, words, nulls, numbers, words, words, nulls, nulls, words)
        + 5 * (address,)
    )
    measure_headers.compile((words, words, nulls, words) + 3 * (address,))
    take_headers.compile((words, words, data, words, data, words, nulls, words) + 4 * (address,))
    for values, keys in ((data, data), (text, data), (text, text)):
        fill.compile((rows, values, words, nulls, keys, words, nulls, numbers))
    error_of.compile((rows,))
    send_with_headers.compile(
        (address, rows, rows, text, words, text, words, nulls, words) + 3 * (address,)
    )
