"""Record batches that the client library refuses to decompress: which offsets are skipped."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from confluent_kafka import KafkaError

from bench.hostile_cases.case import Place, cases, entry

_TOO_LARGE: Final = KafkaError(KafkaError._BAD_COMPRESSION, "failed")  # noqa: SLF001 the binding's own name
_END: Final = KafkaError(KafkaError._PARTITION_EOF, "end")  # noqa: SLF001 the same
_OUTSIDE: Final = KafkaError(KafkaError._AUTO_OFFSET_RESET, "out of range")  # noqa: SLF001 the same

Batch = tuple[int, int, bool]
"""First offset, next offset after the batch, whether it is too large."""


class _Partition:
    """Answers fetches as librdkafka does: with an error at the first offset of such a batch."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._at = 0

    def assign(self, places: Sequence[Any]) -> None:
        self._at = places[0].offset

    def poll(self, _: float) -> Any:
        offset, error = self._answer()
        return SimpleNamespace(
            partition=lambda: 0, offset=lambda: offset, error=lambda: error
        )  # fmt: skip

    def _answer(self) -> tuple[int, KafkaError | None]:
        for first, behind, large in self._batches:
            if self._at < behind:
                return (first, _TOO_LARGE) if large else (max(self._at, first), None)
        end = self._batches[-1][1]
        return self._at, _END if self._at == end else _OUTSIDE

    def close(self) -> None: ...


def _passed(*batches: Batch) -> Callable[[Place], str]:
    """Search for the end of the first batch that is too large."""

    def run(_: Place) -> str:
        module = entry("stream_scorer.kafka.reading.unreadable_batches")
        base = next(first for first, _, large in batches if large)
        with patch.object(module, "Consumer", lambda _: _Partition(batches)):
            return f"{base} to {module.BatchEnds({}, 't').end(0, base) - 1} passed over"

    return run


CASES: Final = cases(
    "batch", 4,
    ("150 MB in one record", "inflated", "5 to 5 passed over$",
     _passed((0, 5, False), (5, 6, True), (6, 9, False))),
    ("150 records of 1 MB", "inflated", "5 to 154 passed over$",
     _passed((0, 5, False), (5, 155, True), (155, 156, False))),
    ("4 million records", "inflated", "5 to 4000004 passed over$",
     _passed((0, 5, False), (5, 4_000_005, True), (4_000_005, 4_000_006, False))),
    ("the last of its partition", "inflated", "5 to 11 passed over$",
     _passed((0, 5, False), (5, 12, True))),
    ("followed by another", "inflated", "5 to 11 passed over$",
     _passed((0, 5, False), (5, 12, True), (12, 90, True), (90, 91, False))),
    ("followed by a marker", "inflated", "5 to 11 passed over$",
     _passed((0, 5, False), (5, 12, True), (13, 20, False))),
)  # fmt: skip
