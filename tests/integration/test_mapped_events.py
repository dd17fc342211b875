"""A scorer over a stranger's topic decides as one over the same transactions in our schema."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka, Registry
from tests.support.codec.foreign_events import EVENTS, foreign, with_foreign_schema
from tests.support.faults.reference_run import everything_once, feed, scored, transactions

pytestmark = pytest.mark.kafka

SHIPPED_PLAN = Path("models/fraud/plan.toml")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    folder = tmp_path / "plan"
    folder.mkdir()
    (folder / "plan.toml").write_text(SHIPPED_PLAN.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "events.toml").write_text(EVENTS, encoding="utf-8")
    return folder


def test_mapped_records_are_decided_as_our_own(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
    plan: Path,
) -> None:
    records = transactions(days=6)
    theirs = tuple(foreign(record) for record in records)
    assert sum(a.value != b.value for a, b in zip(records, theirs, strict=True)) > len(records) / 2
    native, mapped = (kafka_topics(kafka_settings()) for _ in range(2))
    expected, _ = scored(native, feed(native, records))
    found, _ = scored(
        mapped, feed(mapped, theirs),
        deployment=Deployment("fraud:1.0.0", start="earliest", plan=plan),
        registry=Registry(directory=with_foreign_schema(tmp_path)),
    )  # fmt: skip
    everything_once(found, theirs)
    assert found.decisions == expected.decisions
    assert found.rings == expected.rings
    assert found.dumps == expected.dumps
