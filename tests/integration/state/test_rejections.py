"""Rejected, the cause fixed, crashed, taken over, replayed: each record is decided once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.apps.scorer import Deployment
from stream_scorer.kafka.reading import read_all
from stream_scorer.kafka.state_topic import TopicStore
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoint import Owner
from stream_scorer.state.rejected import Rejected
from tests.faults.scene import PARTITIONS, outcome
from tests.integration.state.rejecting import (
    FIXABLE,
    Configuration,
    Timed,
    beside,
    broken_and_fixed,
    dumps,
    feed_timed,
    rejected_and_good,
    replay_letters,
)
from tests.integration.state.stage import Crash, live, restored_only, settings_of

pytestmark = pytest.mark.kafka


def ends_of(kafka: Kafka) -> dict[int, int]:
    """Return the next offset of each partition's last record; a marker may come after it."""
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for message in read_all(kafka, kafka.topics.transactions):
        ends[message.partition()] = message.offset() + 1
    return ends


def deployed(of: Configuration) -> Deployment:
    return Deployment("fraud:1.0.0", plan=of.plan)


def remembered(kafka: Kafka, partition: int) -> Rejected:
    """Return what the state topic remembers of a partition's rejections."""
    owner = Owner(kafka.group, kafka.topics.transactions)
    found = Rejected(owner, partition)
    for records in TopicStore(kafka, owner).read(partition):
        found.add(records)
    found.settle()
    return found


class Crashes:
    """A hook that crashes once, after a number of laps of one stage."""

    def __init__(self, stage: str, laps: int) -> None:
        self._stage = stage
        self._left = laps

    def __call__(self, stage: str) -> None:
        self._left -= stage == self._stage
        if self._left == 0:
            self._left = -1
            raise Crash


def rejected_of(kafka: Kafka, records: list[Timed]) -> Counter[str]:
    """Return how many dead letters there are by reason; they are those that are expected."""
    found = Counter(letter[0] for letter in outcome(kafka).dead_letters.values())
    assert found == Counter(each.record.bad for each in records if each.record.bad)
    return found


def each_once(kafka: Kafka, records: list[Timed], copies: int) -> None:
    """Assert that every record, rejected first or not, is decided once and is never DUPLICATE."""
    found = outcome(kafka)
    assert found.doubled == []
    assert len(found.dead_letters) == copies
    ids = Counter(each["transaction_id"] for each in found.decisions.values())
    assert (len(ids), set(ids.values())) == (len(records), {1})


@pytest.mark.parametrize(("where", "stage"), [("topic", "commit"), ("files", "send")])
def test_rejected_fixed_crashed_and_replayed_each_record_is_decided_once(
    where: str,
    stage: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    broken, fixed = broken_and_fixed(tmp_path)
    records = rejected_and_good()
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    url: dict[str, Any] = {"url": f"file://{tmp_path}/state"} if where == "files" else {}
    # No bucket is written: whatever a restore knows of rejections it has from the segments.
    crashing = settings_of(ours, 150, bytes_per_event=0, buckets_per_second=0, **url)
    first = feed_timed(ours, records)
    assert live(broken.of(crashing), first, Crashes(stage, 3), plan=broken.plan).crashed
    life = live(broken.of(crashing), first, plan=broken.plan)
    rejected = rejected_of(ours, records)
    assert set(rejected) == set(FIXABLE)

    calm_kafka = beside(ours, kafka_topics, kafka_settings(session_timeout_ms=6_000))
    calm = settings_of(calm_kafka, 150)
    live(broken.of(calm), first, plan=broken.plan)

    # Taken over under the fixed configuration, from the input alone.
    taken = restored_only(fixed.of(crashing), deployment=deployed(fixed))
    assert dumps(taken) == dumps(life)
    assert replay_letters(ours).copied == rejected
    ends = ends_of(ours)
    assert live(fixed.of(crashing), ends, Crashes(stage, 1), plan=fixed.plan).crashed
    live(fixed.of(crashing), ends, plan=fixed.plan)
    each_once(ours, records, rejected.total())

    expected = live(fixed.of(calm), ends, plan=fixed.plan)
    again = restored_only(fixed.of(crashing), deployment=deployed(fixed))
    assert dumps(again) == dumps(expected)
    assert outcome(calm_kafka).decisions == outcome(ours).decisions
