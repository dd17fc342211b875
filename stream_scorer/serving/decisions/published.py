"""Published decisions as the window keeps them, and as JSON answers; records and dead letters."""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path as Directory
from typing import Any, Final

import fastavro
import msgspec
import numpy as np

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.codec.reading.decode_program import HEADER_BYTES
from stream_scorer.codec.records.decisions import ANSWERED, NEWEST
from stream_scorer.dead_letters.format import parse
from stream_scorer.ports import BODY_HEADER, CLIENT_HEADER, Headers, RawRecords
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.schema_cache import RecentSchemas
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.serving.decisions.correlation import Letter
from stream_scorer.serving.decisions.identity import BodyMark, key_of, public_id
from stream_scorer.serving.decisions.judging import Rejection
from stream_scorer.serving.decisions.window import WindowDecision

_IDENTITY: Final = frozenset(
    {"transaction_id", "customer_id", "source_topic", "source_partition", "source_offset"}
)
_THROUGH: Final = "let_through"
_DRAWS: Final = frozenset({_THROUGH, "drawn"})
"""Flags of random draws."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = ("event_time", "decided_at", "terminal_watermark")
_BODY_MOST: Final = 64
_CLIENT_MOST: Final = 255
_UNKNOWN: Final[Mapping[str, Any]] = {"amount_minor": -1, "currency": ""}
"""Values of a decision of version 1, which does not have these fields."""


@dataclass(frozen=True, slots=True)
class _DecisionSchemas:
    """A writer schema, and the schema to resolve to; None if it has the answers' fields as ours."""

    writer: Any
    reader: Any


class PublishedDecisions:
    """Reads the records of the decisions topic. :meth:`of` must be called by one thread.

    Args:
        source: Returns writer schemas by id.
        topic: The input topic; decisions of other topics are left out.
        directory: The folder of this project's schemas.
    """

    def __init__(self, source: SchemaSource, topic: str, directory: Directory) -> None:
        text = reader_schema(ANSWERED, directory)
        self._source = source
        self._topic = topic
        self._identities = ColumnDecoder(
            source, narrowed(text, lambda name: name in _IDENTITY), UNLIMITED
        )
        ours = parse_definition(text, ANSWERED).plain()
        newest = parse_definition(reader_schema(NEWEST, directory), NEWEST).plain()
        # Resolving takes twice as long. The newest version has all fields of the answers, and more.
        self._unresolved = (ours.root, newest.root)
        self._names = tuple(each["name"] for each in ours.root["fields"])
        self._reader = fastavro.parse_schema(ours.root, _force=True)
        self._schemas: RecentSchemas[_DecisionSchemas] = RecentSchemas()

    def of(self, raw: RawRecords) -> Iterator[WindowDecision]:
        """Yield the decisions among records; others are left out.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoded = self._identities.decode(raw.values)
        names = ("customer_id", "transaction_id", "source_topic", "source_partition")
        columns = [decoded.records.column(name).to_pylist() for name in names]
        offsets = decoded.records.column("source_offset").to_pylist()
        rows = decoded.rows.tolist()
        values = raw.values.to_list()
        timestamps = raw.timestamp.tolist()
        for row, customer, transaction, topic, partition, offset in zip(
            rows, *columns, offsets, strict=True
        ):
            if topic != self._topic:
                continue
            payload = values[row]
            self.schemas_of(payload)
            client, mark = sender_of(raw.headers[row] if raw.headers else None)
            key = key_of(customer, transaction)
            yield WindowDecision(key, timestamps[row], partition, offset, payload, client, mark)

    def schemas_of(self, payload: bytes) -> _DecisionSchemas:
        """Return the schemas of a decision, which :meth:`of` has prepared."""
        schema_id = int.from_bytes(payload[1:HEADER_BYTES], "big")
        known = self._schemas.peek(schema_id)
        if known is None:
            text = self._source.writer_schema(schema_id)
            plain = parse_definition(text, f"schema id {schema_id}").plain()
            reader = None if plain.root in self._unresolved else self._reader
            known = _DecisionSchemas(fastavro.parse_schema(plain.root, _force=True), reader)
            self._schemas.keep(schema_id, known, len(text))
        return known

    def fields(self, payload: bytes) -> dict[str, Any]:
        """Return the answers' fields of a decision that :meth:`of` has yielded; times in ms.

        Raises:
            ValueError: It cannot be decoded after all.
        """
        schemas = self.schemas_of(payload)
        try:
            record: Any = fastavro.schemaless_reader(
                io.BytesIO(payload[HEADER_BYTES:]), schemas.writer, schemas.reader
            )
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 fastavro may raise anything for invalid bytes
            raise ValueError(f"not a decision: {type(error).__name__}") from None
        return {name: record[name] for name in self._names}

    def is_of(self, decided: WindowDecision, mark: BodyMark, fields: Mapping[str, Any]) -> bool:
        """Return whether a decision is that of a body.

        Args:
            decided: The decision.
            mark: Of the body.
            fields: What a decision repeats of the body.

        Raises:
            ValueError: The decision cannot be decoded.
        """
        if decided.mark is not None and decided.mark.schema_id == mark.schema_id:
            return decided.mark == mark
        # The record does not tell its body: it came through the stream. What the decision repeats
        # of it must agree.
        return _agrees(self.fields(decided.payload), fields)

    def document(self, decided: WindowDecision) -> dict[str, Any]:
        """Return a decision as the members of its JSON answer.

        A client must not learn that its transaction passed by a random draw: a thief would go on.
        So the flags of the draws are left out, and a transaction that was let through has no
        reasons, as any other approved one.

        Raises:
            ValueError: It cannot be decoded.
        """
        fields = self.fields(decided.payload)
        if _THROUGH in fields["flags"]:
            fields |= {"reasons": [], "explanations": [], "model_outcome": fields["decision"]}
        fields["flags"] = [flag for flag in fields["flags"] if flag not in _DRAWS]
        for name in _TIMES:
            fields[name] = _iso(fields[name])
        fields["features"] = _finite(np.frombuffer(fields["features"], "<f8").tolist())
        fields["score"] = _finite([fields["score"]])[0]
        for each in fields["explanations"] or ():
            each["value"] = _finite([each["value"]])[0]
        return {"id": public_id(decided.key), **fields}


def sender_of(headers: Headers) -> tuple[str, BodyMark | None]:
    """Return the client and the body that a record's headers name; empty and None without them."""
    client, mark = "", None
    for name, value in headers or ():
        if name == CLIENT_HEADER and value is not None and len(value) <= _CLIENT_MOST:
            client = value.decode("utf-8", "replace")
        elif name == BODY_HEADER and value is not None and len(value) <= _BODY_MOST:
            mark = BodyMark.parsed(value)
    return client, mark


def to_json(document: Mapping[str, Any] | list[Any]) -> bytes:
    """Return a document as JSON."""
    return msgspec.json.encode(document)


def _iso(milliseconds: int | None) -> str | None:
    """Return a time in RFC 3339; None for none, and for one that no calendar has."""
    if milliseconds is None:
        return None
    try:
        time = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finite(numbers: list[float]) -> list[float | None]:
    """Return numbers with None in place of NaN and infinity, which JSON does not have."""
    return [number if math.isfinite(number) else None for number in numbers]


def _agrees(decision: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Return whether a decision's fields, times in ms, are those of a transaction."""
    return all(
        decision[name] == value or (name in _UNKNOWN and decision[name] == _UNKNOWN[name])
        for name, value in fields.items()
        if not (name == "channel" and decision["currency"] == _UNKNOWN["currency"])
    )


class _LetterRow:
    """A row of records as the message that ``dead_letters.format.parse`` reads."""

    def __init__(self, raw: RawRecords, row: int) -> None:
        self._raw = raw
        self._row = row

    def headers(self) -> Headers:
        return self._raw.headers[self._row] if self._raw.headers else None

    def set_headers(self, headers: list[Any]) -> None:
        raise NotImplementedError

    def partition(self) -> int:
        return int(self._raw.partition[self._row])

    def offset(self) -> int:
        return int(self._raw.offset[self._row])

    def timestamp(self) -> tuple[int, int]:
        return 1, int(self._raw.timestamp[self._row])

    def value(self) -> bytes | None:
        return self._raw.values[self._row]

    def key(self) -> bytes | None:
        return self._raw.keys[self._row]


def letter_of(raw: RawRecords, row: int, source: str) -> Letter | None:
    """Return the dead letter in a row; None if it is not one, or of another topic's record.

    Args:
        raw: Records of the dead-letter topic.
        row: The row.
        source: The input topic.
    """
    try:
        letter = parse(_LetterRow(raw, row))
    except (ValueError, UnicodeError):
        return None
    if letter.source_topic != source:
        return None
    rejection = Rejection(letter.reason, letter.detail)
    return Letter(letter.source_partition, letter.source_offset, rejection)
