"""Rejected, the cause fixed, crashed, taken over, replayed: each record is decided once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.kafka.offsets import LATEST, admin, offsets
from stream_scorer.settings import Kafka
from tests.faults.scene import PARTITIONS, outcome
from tests.integration.state.rejecting import (
    FIXABLE,
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
    """Return the input's last stable offsets: where a reader's next record would be."""
    topic = kafka.topics.transactions
    wanted = [(topic, partition) for partition in range(PARTITIONS)]
    found = offsets(admin(kafka), kafka, wanted, LATEST, stable=True)
    return {partition: offset for (_, partition), offset in found.items()}


def read_up_to(kafka: Kafka) -> dict[int, int]:
    """Return where each partition's last record ends; a transaction's marker comes behind it."""
    from stream_scorer.kafka.reading import read_all

    ends = dict.fromkeys(range(PARTITIONS), 0)
    for message in read_all(kafka, kafka.topics.transactions):
        ends[message.partition()] = message.offset() + 1
    return ends


@pytest.mark.parametrize("where", ["topic", "files"])
@pytest.mark.parametrize("stage", ["send", "commit"])
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
    laps = 0

    def hook(name: str) -> None:
        nonlocal laps
        laps += name == stage
        if laps == 3:
            raise Crash

    # Crashed in the middle, and again with everything decided.
    while (life := live(broken.of(crashing), first, hook, plan=broken.plan)).crashed:
        laps = 4
    told = outcome(ours)
    rejected = Counter(letter[0] for letter in told.dead_letters.values())
    assert set(rejected) == set(FIXABLE)
    assert sum(rejected.values()) == sum(bool(each.record.bad) for each in records)

    calm_kafka = beside(ours, kafka_topics, kafka_settings(session_timeout_ms=6_000))
    calm = settings_of(calm_kafka, 150)
    live(broken.of(calm), first, plan=broken.plan)

    # Taken over under the fixed configuration, from the input alone.
    taken = restored_only(fixed.of(crashing), deployment=deployment(fixed.plan))
    assert dumps(taken) == dumps(life)
    copied = replay_letters(ours)
    assert copied.copied == rejected
    ends = read_up_to(ours)
    laps = 1
    while live(fixed.of(crashing), ends, hook, plan=fixed.plan).crashed:
        laps = 4

    found = outcome(ours)
    assert found.doubled == []
    assert len(found.dead_letters) == sum(rejected.values())
    assert len(found.decisions) == len(records)
    ids = Counter(each["transaction_id"] for each in found.decisions.values())
    assert set(ids.values()) == {1}

    expected = live(fixed.of(calm), ends, plan=fixed.plan)
    again = restored_only(fixed.of(crashing), deployment=deployment(fixed.plan))
    assert dumps(again) == dumps(expected)
    assert outcome(calm_kafka).decisions == found.decisions


def deployment(plan: Path) -> Any:
    from stream_scorer.apps.scorer import Deployment

    return Deployment("fraud:1.0.0", plan=plan)
