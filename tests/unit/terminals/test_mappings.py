"""The profiler reads each record by the scorers' mapping for it, and not before that is known."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.errors import UnavailableError
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Event, RolloutNotVisible
from stream_scorer.terminals import mappings as module
from stream_scorer.terminals.mappings import FollowedMappings, followed_mappings
from tests.support.codec.mapped_records import Schemas

VERSION = {"champion": Version("fraud", "1.0.0")}
DAY = 86_400_000


def plan(name: str) -> Plan:
    """Return a plan in whose records the id has this name."""
    fields = {
        "transaction_id": name, "customer_id": "card", "amount": {"path": "sum", "unit": "minor"},
        "event_time": {"path": "ts", "unit": "ms"}, "currency": {"constant": "EUR"},
    }  # fmt: skip
    return plan_from({"events": {"record": {"format": "json"}, "fields": fields}})


OLD, NEW = plan("old"), plan("new")


@dataclass
class Cluster:
    """What the scorers have committed and activated so far."""

    routings: dict[int, Routing] = field(default_factory=dict)
    begun: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    due: list[tuple[int, int, int]] = field(default_factory=list)
    fails: bool = False

    def timeline(self, partition: int) -> list[tuple[int, int]]:
        return sorted(self.begun.get(partition, []))

    def read_all(self) -> None:
        for partition, offset, revision in self.due:
            self.begun.setdefault(partition, []).append((offset, revision))
        self.due = []

    def mark_end(self) -> None:
        """All is read at once."""

    def read(self) -> bool:
        self.read_all()
        return True

    def revision(self, number: int, shared: Plan, at: int | None = None) -> None:
        self.routings[number] = Routing(number, VERSION, shared=shared, effective_at=at)

    def known(self) -> Mapping[int, Routing]:
        if self.fails:
            raise UnavailableError("topic rollout: no answer", "wait")
        return self.routings

    def mappings(self, first: Plan = OLD) -> FollowedMappings:
        return FollowedMappings(
            first, self.known, self, lambda wanted: {
                each: self.committed[each] for each in wanted if each in self.committed
            }, EventDecoders(Schemas()),
        )  # fmt: skip


def raw(*places: tuple[int, int]) -> RawRecords:
    """Return records of (partition, offset); each has both names, and its offset's day as time."""
    values = [
        json.dumps({"old": f"o{p}-{n}", "new": f"n{p}-{n}", "card": "C", "sum": 1, "ts": n * DAY})
        for p, n in places
    ]
    partition, offset = (np.array(each) for each in zip(*places, strict=True))
    return RawRecords(
        BytesColumn.of([value.encode() for value in values]), BytesColumn.nulls(len(places)), None,
        partition.astype(np.int32), offset, np.zeros(len(places), np.int64),
    )  # fmt: skip


def read(mappings: FollowedMappings, records: RawRecords) -> list[Any]:
    """Return the ids of the records in order, by the mappings that read them."""
    found: dict[int, str] = {}
    for _, decoder, rows in mappings(records):
        chosen = np.zeros(len(records), np.bool_)
        chosen[rows] = True
        events, _, _ = decoder.decode(records.where(chosen))
        found |= dict(
            zip(rows.tolist(), events.records.column("transaction_id").to_pylist(), strict=True)
        )
    return [found[row] for row in range(len(records))]


def test_each_offset_is_read_by_what_was_active_there() -> None:
    cluster = Cluster(begun={0: [(0, 1), (5, 2)], 1: [(0, 1), (7, 2)]})
    cluster.revision(1, OLD)
    cluster.revision(2, NEW)
    records = raw((0, 4), (1, 6), (0, 5), (1, 7), (0, 6))
    assert read(cluster.mappings(), records) == ["o0-4", "o1-6", "n0-5", "n1-7", "n0-6"]


def test_without_another_mapping_no_scorer_is_asked() -> None:
    cluster = Cluster()
    assert read(cluster.mappings(NEW), raw((0, 1), (1, 2))) == ["n0-1", "n1-2"]
    cluster.revision(1, NEW)
    ((_, _, rows),) = cluster.mappings(NEW)(raw((0, 1), (1, 2)))
    assert rows.tolist() == [0, 1]


def test_what_may_begin_is_waited_for() -> None:
    cluster = Cluster(begun={0: [(0, 1)]})
    cluster.revision(1, OLD)
    cluster.revision(2, NEW)
    mappings, records = cluster.mappings(), raw((0, 4), (0, 5), (0, 6))
    for committed in (None, 6):
        if committed:
            cluster.committed[0] = committed
        with pytest.raises(Paused, match="have not decided the records before 7") as paused:
            mappings(records)
        assert paused.value.dependency == "scorers"
    # The revision began in the transaction that committed the last record.
    cluster.committed[0], cluster.due = 7, [(0, 5, 2)]
    assert read(mappings, records) == ["o0-4", "n0-5", "n0-6"]


def test_scorers_that_refuse_a_plan_are_followed() -> None:
    cluster = Cluster(begun={0: [(0, 1)]}, committed={0: 7})
    cluster.revision(1, OLD)
    cluster.revision(2, NEW)
    assert read(cluster.mappings(), raw((0, 6))) == ["o0-6"]
    with pytest.raises(Paused):
        cluster.mappings()(raw((0, 7)))


def test_a_later_time_holds_back_only_the_batch_that_reaches_it() -> None:
    cluster = Cluster(begun={0: [(0, 1)]})
    cluster.revision(1, OLD)
    cluster.revision(2, NEW, at=6 * DAY)
    assert read(cluster.mappings(), raw((0, 4), (0, 5))) == ["o0-4", "o0-5"]
    with pytest.raises(Paused):
        cluster.mappings()(raw((0, 5), (0, 6)))


def test_a_record_of_an_unknown_schema_may_begin_a_revision() -> None:
    cluster = Cluster(begun={0: [(0, 1)]})
    cluster.revision(1, OLD)
    # Unlike OLD, it reads Avro.
    cluster.revision(2, plan_from({"events": {"fields": NEW.events["fields"]}}), at=6 * DAY)
    records = replace(raw((0, 4)), values=BytesColumn.of([b"\0\0\0\0\x63x"]))
    with pytest.raises(Paused, match="have not decided the records before 5"):
        cluster.mappings()(records)


def test_a_partition_waits_for_its_first_activation() -> None:
    cluster = Cluster()
    cluster.revision(1, NEW, at=6 * DAY)
    with pytest.raises(Paused):
        cluster.mappings()(raw((0, 0)))
    cluster.committed[0], cluster.due = 1, [(0, 0, 1)]
    assert read(cluster.mappings(), raw((0, 0))) == ["n0-0"]


def test_a_log_out_of_reach_pauses() -> None:
    cluster = Cluster(fails=True)
    with pytest.raises(Paused, match="no answer") as paused:
        cluster.mappings()(raw((0, 0)))
    assert paused.value.dependency == "control log"


def test_a_revision_that_is_active_before_it_is_read_here_pauses() -> None:
    cluster = Cluster(begun={0: [(0, 1)]}, committed={0: 7}, due=[(0, 5, 3)])
    cluster.revision(1, OLD)
    cluster.revision(2, NEW)
    mappings, records = cluster.mappings(), raw((0, 4), (0, 5), (0, 6))
    with pytest.raises(Paused, match="revision 3 is active") as paused:
        mappings(records)
    assert paused.value.dependency == "control log"
    cluster.revision(3, NEW)
    assert read(mappings, records) == ["o0-4", "n0-5", "n0-6"]


def test_topics_of_the_rollout_that_cannot_be_seen_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "admin", lambda _: None)
    monkeypatch.setattr(module, "partitions", lambda *_: {"transactions": [0], "rollout": [0]})
    told: list[Event] = []
    assert followed_mappings(Settings(), Schemas(), "scorers", OLD, told.append) is None
    assert told == [RolloutNotVisible(("activations",))]
