"""Dead letters: the original record, untouched, with the reason for its rejection in headers.

Value and key are the original's. Its headers follow in order, as far as they were read: see
``ColumnConsumer.poll``. In a header's name, bytes that are not UTF-8 are U+FFFD, and it ends at its
first NUL. Seven headers of ours come last, UTF-8 text each, so that any Kafka client can read why a
record is here and where it came from.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
_REASON = re.compile(r"[A-Z][A-Z_]{0,39}")
# Any, not only those that this version writes: another version may have written the record.
REPLAYED_FROM = "replayed-from"
"""Names, in a record that was copied back to the input, the dead letter: TOPIC:PARTITION:OFFSET."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the dead-letter topic.

    Attributes:
        partition: Where the dead letter lies.
        offset: Its offset there.
        timestamp: When it was rejected, ms since the epoch.
        value: The original bytes; None was a null value.
        key: The original key.
        headers: The original headers, in order, as far as they were read.
        reason: Why it was rejected: a value of ``core.batch.RejectReason``.
        detail: A short text for the reader.
        source_topic: Where the original lies.
        source_partition: Its partition.
        source_offset: Its offset there.
        source_timestamp: Its Kafka timestamp, ms since the epoch.
        instance: Which scorer rejected it.
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

        It comes first: of many headers, the first are read, and a copy is never copied again.

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
    """Return the records that carry the rejected rows to the dead-letter topic.

    Args:
        raw: The polled records.
        rows: r row numbers in ``raw``.
        reasons: r reasons.
        details: r short texts.
        topic: The dead-letter topic.
        source_topic: Where ``raw`` came from.
        instance: Which process rejects them.
    """
    found: list[Headers] = []
    rows = list(rows)
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
        found.append([*((raw.headers[row] if raw.headers else None) or ()), *ours])
    return Outgoing(
        topic,
        BytesColumn.of(raw.values[row] for row in rows),
        BytesColumn.of(raw.keys[row] for row in rows),
        found,
    )


def shortened(detail: str) -> str:
    """Return a detail as a header holds it: whole characters, at most 512 bytes of them.

    A record, or the schema that it names, chooses some of its words.
    """
    encoded = detail[:DETAIL_BYTES].encode("utf-8", "backslashreplace")
    return encoded[:DETAIL_BYTES].decode("utf-8", "ignore")


def headers_of(message: Any) -> list[tuple[str, Any]]:
    """Return the headers of a message that anyone may have written.

    Args:
        message: A ``confluent_kafka.Message``.

    Raises:
        ValueError: A name is not UTF-8. The client library cannot return the others then.
    """
    try:
        return message.headers() or []
    except (SystemError, UnicodeError) as error:
        # The message keeps a list with null pointers then: to read it again ends the process.
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
    )
