"""``state repartition`` of customers with histories in several partitions, and when interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from fsspec.implementations.local import LocalFileSystem

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka
from tests.integration.state.test_commands import Group
from tests.support.faults.reference_run import PARTITIONS, feed, transactions
from tests.support.state.stage import Life, live, restored_only, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

AFTER = 7
Ring = list[tuple[int, int, int]]


def astray(key: bytes, number: int) -> int:
    """Return some of the records in other partitions, as another partitioner places them."""
    home = partition_of(key, PARTITIONS)
    return (home + number % 3) % PARTITIONS if int(key) % 3 == 0 else home


def feed_astray(kafka: Kafka) -> dict[int, int]:
    producer = Producer(
        client_options.common(kafka) | {"enable.idempotence": True, "linger.ms": 20}
    )
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for number, record in enumerate(transactions(days=4)):
        partition = astray(record.key, number)
        producer.produce(kafka.topics.transactions, record.value, record.key, partition=partition)
        ends[partition] += 1
    assert producer.flush(30) == 0
    return ends


@pytest.fixture(params=["topic", "files"])
def group(
    request: pytest.FixtureRequest,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> Group:
    """Return a group in which every third customer may have rings in several partitions."""
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed_astray(ours)
    url = f"file://{tmp_path}/checkpoints" if request.param == "files" else ""
    life = live(settings_of(ours, 40, bytes_per_event=0, buckets_per_second=0, url=url), ends)
    return Group(ours, ends, life, url)


def rings_of(life: Life) -> dict[bytes, list[Ring]]:
    """Return each customer's rings, by ascending partition."""
    found: dict[bytes, list[Ring]] = {}
    for _, own in sorted(life.rings().items()):
        for key, *columns in own:
            found.setdefault(key, []).append(list(zip(*columns, strict=True)))
    return found


def united(rings: list[Ring]) -> Ring:
    """Return the customer's ring if one partition had had all events: by time, each id once."""
    whole: Ring = []
    for event in sorted((event for ring in rings for event in ring), key=lambda event: event[0]):
        if event[2] not in {known[2] for known in whole}:
            whole.append(event)
    return whole


def after_move(group: Group) -> Life:
    url: dict[str, Any] = {"url": group.url} if group.url else {}
    return restored_only(settings_of(group.kafka, **url), partitions=AFTER)


def moved_whole(group: Group) -> None:
    """Assert that every history is complete, and in its customer's new partition."""
    found = after_move(group).rings()
    expected = {key: united(rings) for key, rings in rings_of(group.life).items()}
    assert {key: list(zip(*columns, strict=True)) for own in found.values()
            for key, *columns in own} == expected  # fmt: skip
    for partition, own in found.items():
        assert all(partition_of(key, AFTER) == partition for key, *_ in own)


def test_rings_in_several_partitions_become_one(group: Group) -> None:
    before = rings_of(group.life)
    grow(group.kafka, group.kafka.topics.transactions, AFTER)
    told = group.told("repartition")
    several = {key for key, rings in before.items() if len(rings) > 1}
    doubled = [key for key in several
               if len(united(before[key])) < sum(map(len, before[key]))]  # fmt: skip
    assert len(several) > 5
    assert doubled
    assert told["merged"] == len(several)
    assert told["customers"] == len(before)
    moved_whole(group)

    watermark = {
        each["partition"]: each["watermark"] for each in group.told("inspect")["partitions"]
    }
    for key, rings in before.items():
        newest = max(event[0] for ring in rings for event in ring)
        assert watermark[partition_of(key, AFTER)] >= newest


@pytest.mark.parametrize("group", ["files"], indirect=True)
@pytest.mark.parametrize("cut", ["pipe_file", "mv"])
def test_an_interrupted_move_is_either_undone_or_finished(
    group: Group, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = group.kafka
    grow(kafka, kafka.topics.transactions, AFTER)
    before = group.told("inspect")
    left = [500]
    real: Any = getattr(LocalFileSystem, cut)

    def failing(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, cut, failing)
        with pytest.raises(UnavailableError, match="No space"):
            group.run("repartition")
    offsets = committed_offsets(kafka, kafka.topics.transactions, list(range(AFTER)))
    if cut == "pipe_file":
        assert group.told("inspect") == before
        assert offsets == group.ends
        with pytest.raises(StateError, match="had 4 partitions; now it has 7"):
            restored_only(
                settings_of(kafka, url=group.url),
                AFTER,
                Deployment("fraud:1.0.0", start="earliest"),
            )
    else:
        for command in ("inspect", "verify"):
            with pytest.raises(StateError, match="`state repartition` was cut off"):
                group.run(command)
        with pytest.raises(StateError, match="again: stream-scorer state repartition"):
            after_move(group)
    told = group.told("repartition")
    assert (told["before"], told["after"]) == (4, AFTER)
    assert told["customers"] == len(rings_of(group.life))
    assert told["merged"] > 5
    assert committed_offsets(kafka, kafka.topics.transactions, list(range(AFTER))) == (
        group.ends | {4: 0, 5: 0, 6: 0}
    )
    moved_whole(group)


@pytest.mark.parametrize("group", ["files"], indirect=True)
def test_a_rebuild_leaves_nothing_of_a_move_that_was_cut_off(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(group.kafka, group.kafka.topics.transactions, AFTER)
    real: Any = LocalFileSystem.mv

    def failing(self: Any, source: str, target: str, **named: Any) -> None:
        if source.endswith("0700.staged"):
            raise OSError(5, "I/O error")
        real(self, source, target, **named)

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "mv", failing)
        with pytest.raises(UnavailableError, match="I/O error"):
            group.run("repartition")
    group.run("rebuild")
    found = after_move(group).rings()
    assert found == group.life.rings() | {4: [], 5: [], 6: []}
    assert np.all([each["differing"] == [] for each in group.told("verify")["partitions"]])


def test_what_an_earlier_move_stranded_is_merged_by_the_next(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    records = transactions(days=6)
    early = len(records) * 2 // 3
    ends = feed(ours, records[:early])
    life = live(settings_of(ours, 40), ends)
    ends = {p: ends[p] + more for p, more in feed(ours, records[early:]).items()}
    group = Group(ours, ends, life, "")
    grow(ours, ours.topics.transactions, 5)
    assert group.told("repartition")["stranded"] > 0
    live(settings_of(ours, 40), ends)
    group.life = restored_only(settings_of(ours), partitions=5)
    several = [rings for rings in rings_of(group.life).values() if len(rings) > 1]
    grow(ours, ours.topics.transactions, AFTER)
    assert group.told("repartition")["merged"] == len(several) > 0
    moved_whole(group)
