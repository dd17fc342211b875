"""Dead letters: the original record, unchanged, with the reason for its rejection in headers.

Value and key are the original's. Its headers follow in order, as far as they were read: see
``ColumnConsumer.poll``. A header's name ends at its first NUL, and bytes in it that are not UTF-8
are U+FFFD. Our seven headers come last, UTF-8 text each, so that any Kafka client can read why a
record is here and where it came from.

A compressed record of the input may be much larger than a record that may be published. From an
original of more than :data:`ORIGINAL_BYTES_MAX` bytes, parts are left out: the value first, then
the headers, then the key, until the rest fits. The header ``dlq.omitted`` before our seven names
these parts and their lengths: ``value 8000000, headers 3``.
"""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stream_scorer.ports import BytesColumn, Headers, Outgoing, RawRecords
from stream_scorer.redaction import redacted

REASON = "dlq.reason"
DETAIL = "dlq.detail"
DETAIL_BYTES = 512
TOPIC = "dlq.source.topic"
PARTITION = "dlq.source.partition"
OFFSET = "dlq.source.offset"
TIMESTAMP = "dlq.source.timestamp"
INSTANCE = "dlq.instance"
NAMES = (REASON, DETAIL, TOPIC, PARTITION, OFFSET, TIMESTAMP, INSTANCE)
"""Our headers in the order in which they end a dead letter's headers."""
OMITTED = "dlq.omitted"
"""The header before them that names the omitted parts; absent if there are none."""
ORIGINAL_BYTES_MAX: Final = 1_000_000
"""Maximum bytes of the original's value, key and headers in a dead letter, by :func:`size_of`.
Our headers add less than 4 KiB. Kafka's default ``max.message.bytes`` is 1,048,588, and our
producers send up to 1,114,112."""
PARTS: Final = ("value", "headers", "key")
"""Parts that may be left out, in this order."""
_RECORD_BYTES, _HEADER_BYTES = 64, 10
_PART = re.compile(r"(value|headers|key) ([0-9]{1,19}|\?)")
_CALL_HEADERS = operator.methodcaller("headers")
"""Not called from Python code: after some calls the interpreter no longer checks C errors, and the
library's result for a name that is not UTF-8 would crash the process."""
_REASON = re.compile(r"[A-Z][A-Z_]{0,39}")
# Any version's, not only this one's: another version may have written the record.
REPLAYED_FROM = "replayed-from"
"""Header of a copied record that names its dead letter: TOPIC:PARTITION:OFFSET."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the dead-letter topic.

    Attributes:
        partition: The dead letter's partition.
        offset: Its offset there.
        timestamp: When it was rejected, ms since the epoch.
        value: The original bytes; None was a null value.
        key: The original key.
        headers: The original headers, in order, as far as they were read.
        reason: Why it was rejected: a value of ``core.batch.RejectReason``.
        detail: A short text for the reader.
        source_topic: The original's topic.
        source_partition: Its partition.
        source_offset: Its offset there.
        source_timestamp: Its Kafka timestamp, ms since the epoch.
        instance: Which scorer rejected it.
        omitted: Which of :data:`PARTS` of the original are left out, with their lengths: bytes,
            or number of headers; None: unknown. These parts are None here.
    """

    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None
    headers: Headers
    reason: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp: int
    instance: str
    omitted: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the original's value, key and headers as a record, including omitted parts."""
        return size_of(self.value, self.key, self.headers) + self._left_out

    def size_of_copy(self, topic: str) -> int:
        """Return the size of a copy; ``topic`` is the dead-letter topic."""
        return size_of(self.value, self.key, self.headers_of_copy(topic)) + self._left_out

    @property
    def _left_out(self) -> int:
        return sum(self.omitted.get(name) or 0 for name in ("value", "key"))

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset of the dead letter."""
        return self.partition, self.offset

    @property
    def source(self) -> str:
        """The original's coordinates as TOPIC:PARTITION:OFFSET."""
        return f"{self.source_topic}:{self.source_partition}:{self.source_offset}"

    @property
    def replayed(self) -> bool:
        """Whether the original was itself copied from a dead letter."""
        return any(name == REPLAYED_FROM for name, _ in self.headers or ())

    def headers_of_copy(self, topic: str) -> Headers:
        """Return a header that names this dead letter, and the original's headers.

        It comes first, because only the first of many headers are read, and a copy must never be
        copied again.

        Args:
            topic: The dead-letter topic.
        """
        came_from = f"{topic}:{self.partition}:{self.offset}".encode()
        return [(REPLAYED_FROM, came_from), *(self.headers or ())]


def dead_letters(
    raw: RawRecords,
    rows: Iterable[int],
    reasons: Sequence[str],
    details: Sequence[str],
    *,
    topic: str,
    source_topic: str,
    instance: str,
) -> Outgoing:
    """Return the dead letters of the rejected rows, as records.

    Args:
        raw: The polled records.
        rows: r row numbers in ``raw``.
        reasons: r reasons.
        details: r short texts.
        topic: The dead-letter topic.
        source_topic: The topic of ``raw``.
        instance: The process that rejects them.
    """
    found: list[Headers] = []
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    for row, reason, detail in zip(rows, reasons, details, strict=True):
        texts = (
            str(reason),
            shortened(redacted(detail)),
            source_topic,
            str(raw.partition[row]),
            str(raw.offset[row]),
            str(raw.timestamp[row]),
            instance,
        )
        ours = [
            (name, text.encode("utf-8", "backslashreplace"))
            for name, text in zip(NAMES, texts, strict=True)
        ]
        value, key, theirs = raw.values[row], raw.keys[row], _headers(raw, row)
        omitted = parts_left_out(value, key, theirs)
        values.append(None if "value" in omitted else value)
        keys.append(None if "key" in omitted else key)
        found.append([*_kept(theirs, omitted), *ours])
    return Outgoing(topic, BytesColumn.of(values), BytesColumn.of(keys), found)


def _headers(raw: RawRecords, row: int) -> Headers:
    return raw.headers[row] if raw.headers else None


def _kept(theirs: Headers, omitted: Mapping[str, int | None]) -> list[tuple[str, bytes | None]]:
    """Return the original's headers in a dead letter, and the header that names omitted parts."""
    kept = [] if "headers" in omitted else list(theirs or ())
    # If the original has a header of this name, ours follows it, even if nothing is omitted.
    if omitted or (kept and kept[-1][0] == OMITTED):
        kept.append((OMITTED, omitted_text(omitted).encode()))
    return kept


def size_of(value: bytes | None, key: bytes | None, headers: Headers) -> int:
    """Return the maximum uncompressed size of a record in bytes.

    >>> size_of(b"12345", None, [("a", b"1")])
    81
    """
    names = sum(
        len(name.encode("utf-8", "surrogatepass")) + len(text or b"") + _HEADER_BYTES
        for name, text in headers or ()
    )
    return _RECORD_BYTES + len(value or b"") + len(key or b"") + names


def parts_left_out(value: bytes | None, key: bytes | None, headers: Headers) -> dict[str, int]:
    """Return the parts that a dead letter leaves out of an original, with their lengths.

    >>> parts_left_out(bytes(8_000_000), b"k", None)
    {'value': 8000000}
    """
    lengths = {"value": len(value or b""), "headers": len(headers or ()), "key": len(key or b"")}
    sizes = lengths | {"headers": size_of(None, None, headers) - _RECORD_BYTES}
    left = size_of(value, key, headers)
    omitted: dict[str, int] = {}
    for name in PARTS:
        if left > ORIGINAL_BYTES_MAX and lengths[name]:
            omitted[name] = lengths[name]
            left -= sizes[name]
    return omitted


def omitted_text(omitted: Mapping[str, int | None]) -> str:
    """Return the text of the header that names omitted parts.

    >>> omitted_text({"value": 8_000_000, "headers": 3}), omitted_text({"value": None})
    ('value 8000000, headers 3', 'value ?')
    """
    return ", ".join(
        f"{name} {'?' if length is None else length}" for name, length in omitted.items()
    )


def _omitted_parts(text: bytes | None) -> dict[str, int | None] | None:
    """Parse such a header; None if it is not ours."""
    if text is None:
        return None
    found: dict[str, int | None] = {}
    for part in text.decode("utf-8", "replace").split(", ") if text else ():
        match = _PART.fullmatch(part)
        if match is None or match[1] in found:
            return None
        found[match[1]] = None if match[2] == "?" else int(match[2])
    return found


def shortened(detail: str) -> str:
    """Return a detail for a header: complete characters, at most 512 bytes.

    A record, or the schema that it names, determines parts of its text.
    """
    encoded = detail[:DETAIL_BYTES].encode("utf-8", "backslashreplace")
    return encoded[:DETAIL_BYTES].decode("utf-8", "ignore")


def headers_of(message: Any) -> list[tuple[str, Any]]:
    """Return the headers of a message from any client.

    Args:
        message: A ``confluent_kafka.Message``.

    Raises:
        ValueError: A name is not UTF-8. The client library then cannot return the others either.
    """
    try:
        return _CALL_HEADERS(message) or []
    except (SystemError, UnicodeError) as error:
        # The message still has a list with null pointers: reading it again would crash the process.
        message.set_headers([])
        raise ValueError("not a dead letter: a header's name is not UTF-8") from error


def parse(message: Any) -> DeadLetter:
    """Read a message of the dead-letter topic.

    Args:
        message: A ``confluent_kafka.Message``.

    Raises:
        ValueError: Its headers do not end with ours, or cannot be read; another client wrote it.
    """
    headers = headers_of(message)
    theirs, ours = headers[: -len(NAMES)], headers[-len(NAMES) :]
    if tuple(name for name, _ in ours) != NAMES or any(text is None for _, text in ours):
        raise ValueError(
            f"not a dead letter of this program: headers do not end with {', '.join(NAMES)}"
        )
    theirs, omitted = _split(theirs, message)
    reason, detail, topic, partition, offset, timestamp, instance = (
        text.decode() for _, text in ours
    )
    if not _REASON.fullmatch(reason):
        raise ValueError(f"not a dead letter: {reason[:40]!r} is not a reason code")
    source_partition, source_offset, source_timestamp = int(partition), int(offset), int(timestamp)
    for number in (source_partition, source_offset, abs(source_timestamp)):
        if not 0 <= number < 1 << 63:
            raise ValueError(f"not a dead letter: {number} is not a partition, offset or time")
    return DeadLetter(
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        value=message.value(),
        key=message.key(),
        headers=theirs or None,
        reason=reason,
        detail=detail,
        source_topic=topic,
        source_partition=source_partition,
        source_offset=source_offset,
        source_timestamp=source_timestamp,
        instance=instance,
        omitted=omitted,
    )


def _split(
    headers: list[tuple[str, bytes | None]], message: Any
) -> tuple[list[tuple[str, bytes | None]], dict[str, int | None]]:
    """Return the original's headers in a dead letter, and the omitted parts.

    A header of that name that does not fit the dead letter is the original's: versions without our
    header left nothing out.
    """
    if headers and headers[-1][0] == OMITTED:
        found = _omitted_parts(headers[-1][1])
        there = {"value": message.value(), "headers": headers[:-1], "key": message.key()}
        if found is not None and not any(there[name] for name in found):
            return headers[:-1], found
    return headers, {}
