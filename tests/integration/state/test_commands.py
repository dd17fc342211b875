"""The ``state`` commands with a real broker."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.errors import StateError
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.ring_columns import columns_of
from tests.integration.state.test_stops import buckets, write
from tests.support.faults.process import environment
from tests.support.faults.reference_run import feed, transactions
from tests.support.state.stage import Life, live, restored_only, settings_of

pytestmark = pytest.mark.kafka


class Group:
    """A group that has scored its input and written a checkpoint."""

    def __init__(self, kafka: Kafka, ends: dict[int, int], life: Life, url: str) -> None:
        self.kafka = kafka
        self.ends = ends
        self.life = life
        self.url = url
        self.environment = {
            **environment(kafka),
            "STREAM_SCORER_STATE__URL": url,
            "COLUMNS": "250",
        }

    def run(self, *arguments: object) -> str:
        words = ["state", *map(str, arguments)]
        result = CliRunner().invoke(app, words, env=self.environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    def told(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json").splitlines()[-1])


@pytest.fixture(params=["topic", pytest.param("files", marks=pytest.mark.thorough)])
def group(
    request: pytest.FixtureRequest,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> Group:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    url = f"file://{tmp_path}/checkpoints" if request.param == "files" else ""
    life = live(settings_of(ours, 40, bytes_per_event=0, buckets_per_second=0, url=url), ends)
    return Group(ours, ends, life, url)


def test_inspect_verify_export(group: Group, tmp_path: Path) -> None:
    told = group.told("inspect")
    rings = group.life.rings()
    for each in told["partitions"]:
        own = rings[each["partition"]]
        assert each["customers"] == len(own)
        assert each["events"] == sum(len(times) for _, times, *_ in own)
        end = group.ends[each["partition"]]
        assert (each["oldest"], each["newest"], each["committed"], each["lag"]) == (
            end,
            end,
            end,
            0,
        )
        assert (each["buckets"], each["partitions"]) == (1024, 4)
        assert each["formats"] == {"2": 1024}
        assert each["watermark"] == max(times[-1] for _, times, *_ in own)
    assert "2: 1,024" in group.run("inspect")

    verified = group.told("verify")["partitions"]
    assert [(v["buckets"], v["differing"], v["since"]) for v in verified] == [(1024, [], None)] * 4
    assert sum(v["replayed"] for v in verified) == sum(group.ends.values())

    out = tmp_path / "rings.parquet"
    told = group.told("export", "--out", out)
    table = pq.read_table(out)
    assert (
        told["events"]
        == table.num_rows
        == sum(len(times) for own in rings.values() for _, times, *_ in own)
    )
    rows = {
        (p, c.encode(), int(t.timestamp() * 1_000), a, h)
        for p, c, t, a, h in zip(
            *(table[name].to_pylist() for name in
              ("partition", "customer_id", "event_time", "amount_minor", "transaction_hash")),
            strict=True,
        )
    }  # fmt: skip
    assert rows == {
        (p, key, *event)
        for p, own in rings.items()
        for key, times, amounts, hashes in own
        for event in zip(times, amounts, hashes, strict=True)
    }


def test_verify_names_the_buckets_that_differ(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    life = live(settings_of(ours, 40), ends)
    full = {n: b for n, b in buckets(ours, 2).items() if b.payload}
    wrong = sorted(full)[:2]
    for number in wrong:
        write(ours, 2, [*replace(full[number], payload=b"").records(
            Owner(ours.group, ours.topics.transactions))])  # fmt: skip
    group = Group(ours, ends, life, "")
    with pytest.raises(StateError) as raised:
        group.run("verify")
    names = ", ".join(f"2/{number}" for number in wrong)
    assert raised.value.what == f"2 buckets differ from the input: {names}"
    assert raised.value.exit_code == 9

    told = group.told("rebuild")["partitions"]
    assert [(each["offset"], each["customers"]) for each in told] == [
        (ends[p], len(life.rings()[p])) for p in range(4)
    ]
    assert all(v["differing"] == [] for v in group.told("verify")["partitions"])


def test_rebuild_makes_what_the_scorer_would_have(group: Group) -> None:
    before = group.told("inspect")
    group.run("rebuild")
    assert group.told("inspect") == before
    url: dict[str, Any] = {"url": group.url} if group.url else {}
    again = restored_only(settings_of(group.kafka, **url))
    assert again.rings() == group.life.rings()
    assert {p: each.first_offset for p, each in again.restored.items()} == group.ends


def test_repartition_moves_each_history_with_its_customer(group: Group) -> None:
    kafka = group.kafka
    grow(kafka, kafka.topics.transactions, 7)
    told = group.told("repartition")
    rings = {key: rest for own in group.life.rings().values() for key, *rest in own}
    moved = sum(partition_of(key, 7) != partition_of(key, 4) for key in rings)
    assert told == {
        "before": 4, "after": 7, "customers": len(rings), "moved": moved, "merged": 0,
        "stranded": 0,
    }  # fmt: skip
    assert 0 < moved < len(rings)

    topic = kafka.topics.transactions
    assert committed_offsets(kafka, topic, list(range(7))) == group.ends | {4: 0, 5: 0, 6: 0}
    told = group.told("inspect")["partitions"]
    assert [each["buckets"] for each in told] == [1024] * 7
    url: dict[str, Any] = {"url": group.url} if group.url else {}
    again = restored_only(settings_of(kafka, **url), partitions=7)
    found = again.rings()
    assert {key: rest for own in found.values() for key, *rest in own} == rings
    for partition, own in found.items():
        assert all(partition_of(key, 7) == partition for key, *_ in own)


def test_what_is_not_decided_before_the_move_is_counted(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    records = transactions(days=4)
    ends = feed(ours, records)
    life = live(settings_of(ours, 40), ends)
    feed(ours, records[:50])
    grow(ours, ours.topics.transactions, 5)
    told = Group(ours, ends, life, "").told("repartition")
    assert told["stranded"] == sum(partition_of(r.key, 5) != r.partition for r in records[:50])
    assert told["stranded"] > 0


def test_members_keep_the_writing_commands_out(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    refused: list[str] = []

    def hook(stage: str) -> None:
        if stage == "score" and not refused:
            for command in ("rebuild", "repartition"):
                with pytest.raises(StateError, match="has 1 members") as raised:
                    Group(ours, ends, life, "").run(command)
                refused.append(raised.value.fix)

    life: Any = None
    live(settings_of(ours, 400), ends, hook)
    assert refused == ["stop every scorer of the group first"] * 2


def test_nothing_to_show_and_nothing_to_move(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings())
    empty: Any = None
    group = Group(ours, {}, empty, "")
    assert [each["buckets"] for each in group.told("inspect")["partitions"]] == [0] * 4
    with pytest.raises(StateError, match="has no checkpoint"):
        group.run("repartition")


def test_a_payload_as_columns(group: Group) -> None:
    """A payload that is read as columns and written again is the same."""
    for partition in range(4):
        rings = group.life.work.rings.of(partition)
        for number in range(1024):
            payload = rings.dump(number)
            columns = columns_of(payload)
            assert columns.payload(list(range(len(columns.customers)))) == payload
            if payload:
                with pytest.raises(ValueError, match="damaged"):
                    columns_of(payload[:-5] + bytes([payload[-5] ^ 1]) + payload[-4:])
