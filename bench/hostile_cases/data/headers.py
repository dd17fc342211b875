"""Headers of records: their number, and the bytes of their names."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.hostile_cases.case import Place, cases, entry
from bench.hostile_cases.data.replays import any_letter, settings_of_a_run

RawHeaders = Sequence[tuple[bytes, bytes | None]]
_SECONDS: Final = 30.0
_BAD: Final[RawHeaders] = [(b"\xff\xfe", b"x"), (b"a\0b", b"y")]


def _produce(kafka: Any, topic: str, headers: Sequence[RawHeaders]) -> None:
    from tests.support.kafka.mock_broker import (  # noqa: PLC0415 no librdkafka in the warm process
        produce,
    )

    produce(kafka.bootstrap, topic, headers)


def _read(count: int, headers: RawHeaders) -> Callable[[Place], str]:
    """Read records with these headers as a process reads its input."""

    def run(_: Place) -> str:
        kafka = settings_of_a_run().kafka
        topic = kafka.topics.transactions
        for _record in range(count):
            _produce(kafka, topic, [headers])
        options = entry("stream_scorer.kafka.topics.client_options", "reader")(kafka, "g")
        consumer = entry("stream_scorer.kafka.client.consumer", "ColumnConsumer")(options, topic)
        consumer.assign({0: 0})
        found: list[Any] = []
        until = time.monotonic() + _SECONDS
        while len(found) < count and time.monotonic() < until:
            records = consumer.poll(count, 0.1, 0.5).records
            if records is not None:
                found += records.headers or [None] * len(records)
        consumer.close()
        counts = sorted({len(each or ()) for each in found})
        names = sorted({ascii(name) for each in found for name, _ in (each or ())[:2]})
        return f"{len(found)} records, {counts} headers, {' '.join(names)}"

    return run


def _replayed(source: RawHeaders, letter: Callable[[Any], RawHeaders]) -> Callable[[Place], str]:
    """Replay a dead letter, and a good one after it, of two records of the input."""

    def run(_: Place) -> str:
        settings = settings_of_a_run()
        kafka = settings.kafka
        _produce(kafka, kafka.topics.transactions, [source, []])
        good = any_letter(kafka, 1)
        _produce(kafka, kafka.topics.dead_letters, [letter(kafka), good])
        chosen = entry("stream_scorer.dead_letters.progress", "Selection")(frozenset())
        found = entry("stream_scorer.dead_letters.replay", "replay")(settings, chosen)
        listing = entry("stream_scorer.dead_letters.list", "list_dead_letters")(kafka, None, 9)
        return (
            f"{found.copied.total()} copied, {getattr(found, 'mismatched', 0)} mismatched, "
            f"{found.foreign} foreign, {sum(listing.counts.values())} listed"
        )

    return run


def _as_read(kafka: Any) -> RawHeaders:
    """Return a dead letter's headers as a scorer writes them for a record with bad names."""
    names: RawHeaders = [("\ufffd\ufffd".encode(), b"x"), (b"a", b"y")]
    return [*names, *any_letter(kafka, 0)]


def _foreign(kafka: Any) -> RawHeaders:
    return [*_BAD, *any_letter(kafka, 0)]


CASES: Final = cases(
    "headers", 15,
    ("50,000 on each of 10 records", "headers", r"10 records, \[128\] headers, 'h'$",
     _read(10, [(b"h", b"")] * 50_000)),
    ("one of 70,000 bytes after a short one", "headers", r"1 records, \[1\] headers, 'a'$",
     _read(1, [(b"a", b"1"), (b"b", bytes(70_000))])),
    ("names that are not UTF-8 or have a NUL", "header-names",
     r"1 records, \[2\] headers, '\\ufffd\\ufffd' 'a'$", _read(1, _BAD)),
    ("a replayed record's name is not UTF-8", "header-names",
     "2 copied, 0 mismatched, 0 foreign, 2 listed", _replayed(_BAD, _as_read)),
    ("a dead letter's name is not UTF-8", "foreign",
     "1 copied, 0 mismatched, 1 foreign, 2 listed", _replayed([], _foreign)),
)  # fmt: skip
