"""Decisions with terminal features, degraded or not, are reproduced."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from stream_scorer.errors import ReproductionError
from stream_scorer.kafka.topics import client_options
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.run import Question, reproduce
from stream_scorer.settings import Kafka, Models, Settings
from tests.integration.terminals.test_scorer import hold_to, scored, store
from tests.support.reproduce.retelling import DEPTHS, EVER, only, retold, silent, times
from tests.support.terminals.stage import SENT, expected, month, profiled, send

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["store"]


def reproduced(kafka: Kafka, store: Path, depth: str) -> Reproduction:
    settings = Settings(kafka=kafka, models=Models(directory=store))
    question = Question(depth, first_ms=EVER, plan=_plan(store, depth))  # type: ignore[arg-type]
    return reproduce(settings, question, silent)


def _plan(store: Path, depth: str) -> Path | None:
    return store / "plan.toml" if depth == "input" else None


def test_what_was_known_of_terminals_is_known_again(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    store: Path,
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = month()
    cut = len(records) // 2
    send(kafka, records[:cut])
    profiled(kafka, cut)
    send(kafka, records[cut:], SENT + 100_000)
    paid = sum(record.fraud is None for record in records)
    scored(kafka, store, paid)
    # The rows that were missing then exist now.
    profiled(kafka, len(records) - cut)
    flags = hold_to(kafka, records, expected(records, 2**62))
    degraded = sum("degraded" in each for each in flags.values())
    assert 50 < degraded < len(flags) - 50
    for depth in DEPTHS:
        found = reproduced(kafka, store, depth)
        found.refuse()
        assert found.equal == found.chosen == len(flags)
    assert "terminals' rows had left" not in found.given

    # A watermark after the one that the event needs, and rows that must not be deleted.
    first = records[0]
    other = retold(kafka, "mark", _later)
    told = reproduced(other, store, "input")
    assert told.fields["terminal_watermark"] == len(flags)
    assert first.fraud is None
    partition, offset = _place(kafka)
    whole = retold(kafka, "flag", only(partition, offset, flags=["degraded"]))
    told = reproduced(whole, store, "input")
    assert told.given["terminals' rows had left"] == 1

    admin = AdminClient(client_options.common(kafka))
    name = kafka.topics.terminal_profiles
    for future in admin.delete_records([TopicPartition(name, 1, 30)]).values():
        future.result()
    told = reproduced(kafka, store, "input")
    assert told.not_compared > 0
    assert told.differing == 0
    with pytest.raises(ReproductionError, match="or of terminals' rows, is deleted"):
        told.refuse()
    reproduced(kafka, store, "recorded").refuse()


def _later(told: dict[str, object]) -> dict[str, object]:
    return told | {"terminal_watermark": 2_000_000_000_000}


def _place(kafka: Kafka) -> tuple[int, int]:
    """Return the place of a decision that was not degraded."""
    told = next(each for _, each in times(kafka) if "degraded" not in each["flags"])
    return told["source_partition"], told["source_offset"]
