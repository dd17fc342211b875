"""The profiler knows an outcome once the decisions are read up to the scorers' offsets."""

from collections.abc import Mapping

import numpy as np
import pytest

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.terminals.label_policies import LabelPolicies
from stream_scorer.terminals.outcomes import DecidedOutcomes, outcome_schema

SCHEMA = reader_schema("decision.v3")
REGISTRY = FileRegistry(SCHEMAS_DIRECTORY)
CODEC = RecordCodec(REGISTRY.id_for("decisions-value", SCHEMA), SCHEMA)
PARTITIONS = 2


def decision(partition: int, offset: int, outcome: str, topic: str = "transactions") -> bytes:
    return CODEC.encode({
        "transaction_id": "t", "customer_id": "c", "terminal_id": "x", "event_time": 1,
        "decided_at": 2, "score": 0.5, "decision": outcome, "model": "m", "model_version": "1.0.0",
        "engine": 1, "features": b"", "source_topic": topic, "source_partition": partition,
        "source_offset": offset,
    })  # fmt: skip


class World:
    """The decisions, the scorers' offsets and the activations, and what is asked of them in order.

    Attributes:
        visible: How many of the decisions can be read.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.committed: dict[int, int] = {}
        self.written: list[bytes] = []
        self.visible = 0
        self.end = 0
        self.read_to = 0
        self.activations_are_read = True
        self.fails = False
        self.now, self.pace = 0.0, 0.3
        self.outcomes = DecidedOutcomes(
            self, ColumnDecoder(REGISTRY, outcome_schema(SCHEMA), UNLIMITED), "transactions",
            PARTITIONS, self._offsets, LabelPolicies(Plan(), dict, self), self._clock,
        )  # fmt: skip

    def _clock(self) -> float:
        self.now += self.pace
        return self.now

    def _offsets(self, wanted: list[int]) -> Mapping[int, int]:
        assert wanted == [0, 1]
        self.asked.append("offsets")
        if self.fails:
            raise UnavailableError("no answer", "wait")
        return self.committed

    # -- the decisions ----------------------------------------------------------------------

    @property
    def left(self) -> int:
        return self.end - self.read_to

    def mark_end(self, *, stable: bool = False) -> None:
        assert not stable
        if "ends" in self.asked[-1:]:
            self.asked.append("activations")
            return
        self.end = len(self.written)
        self.asked.append("ends")

    def poll(self, maximum: int, wait: float) -> RawRecords | None:
        del maximum, wait
        values = self.written[self.read_to : self.visible]
        if not values:
            return None
        self.read_to = self.visible
        n = len(values)
        return RawRecords(
            BytesColumn.of(values), BytesColumn.nulls(n), None, np.zeros(n, np.int32),
            np.arange(n), np.zeros(n, np.int64),
        )  # fmt: skip

    def close(self) -> None: ...

    # -- the activations --------------------------------------------------------------------

    def read(self) -> bool:
        return self.activations_are_read

    def timeline(self, partition: int) -> list[tuple[int, int]]:
        return [(5, 2), (9, 4)] if partition == 0 else []

    def known(self) -> list[int]:
        return self.outcomes.known.tolist()


@pytest.fixture
def world() -> World:
    return World()


def test_offsets_count_once_the_decisions_before_them_are_read(world: World) -> None:
    world.written = [decision(0, 3, "BLOCK"), decision(0, 4, "APPROVE"), decision(1, 0, "REVIEW")]
    world.committed = {0: 5, 1: 1}
    world.visible = 1
    assert not world.outcomes.refresh(0.0)
    # Offsets first: the ends that are asked after them cover their decisions.
    assert world.asked == ["offsets", "ends", "activations"]
    assert world.known() == [0, 0]
    world.committed = {0: 9, 1: 9}
    world.visible = 3
    world.activations_are_read = False
    assert not world.outcomes.refresh(0.0)
    world.activations_are_read = True
    assert world.outcomes.refresh(0.0)
    # What is committed meanwhile is asked next time.
    assert world.known() == [5, 1]
    partition, offset = np.array([0, 0, 0, 1], np.int32), np.array([3, 4, 5, 3])
    assert world.outcomes.blocked(partition, offset).tolist() == [True, False, False, False]


def test_nothing_is_asked_twice_within_a_moment(world: World) -> None:
    world.committed = {0: 0}
    world.pace = 0.001
    assert not world.outcomes.refresh(0.0)
    assert not world.outcomes.refresh(0.0)
    assert world.asked == ["offsets"]
    world.pace = 0.3
    assert not world.outcomes.refresh(0.0)
    assert world.asked == ["offsets", "offsets"]


def test_decisions_of_other_topics_and_partitions_are_ignored(world: World) -> None:
    world.written = [
        decision(0, 3, "BLOCK", "elsewhere"), decision(7, 3, "BLOCK"), decision(-1, 3, "BLOCK"),
        b"text",
    ]  # fmt: skip
    world.visible = 4
    world.outcomes.follow()
    partition, offset = np.array([0, 1], np.int32), np.array([3, 3])
    assert not world.outcomes.blocked(partition, offset).any()


def test_outcomes_of_rows_that_left_are_forgotten(world: World) -> None:
    world.written = [decision(0, at, "BLOCK") for at in range(2_000)]
    world.visible = 2_000
    world.outcomes.follow()
    world.outcomes.forget(np.array([1_500, 0]))
    blocked = world.outcomes.blocked(np.zeros(2_000, np.int32), np.arange(2_000))
    assert blocked.tolist() == [False] * 1_500 + [True] * 500


def test_a_broker_that_does_not_answer_is_an_outage(world: World) -> None:
    world.fails = True
    with pytest.raises(Paused, match="no answer") as paused:
        world.outcomes.refresh(0.0)
    assert paused.value.dependency == "kafka"


class Unknown(FileRegistry):
    """A registry that does not answer at first."""

    fails = True

    def writer_schema(self, schema_id: int) -> str:
        if self.fails:
            raise RegistryUnavailableError("registry: HTTP 500")
        return super().writer_schema(schema_id)


def test_decisions_that_cannot_be_decoded_now_are_kept(world: World) -> None:
    registry = Unknown(SCHEMAS_DIRECTORY)
    world.outcomes._decoder = ColumnDecoder(registry, outcome_schema(SCHEMA), UNLIMITED)
    world.written, world.visible = [decision(0, 3, "BLOCK")], 1
    with pytest.raises(Paused, match="HTTP 500"):
        world.outcomes.follow()
    registry.fails = False
    world.outcomes.follow()
    assert world.outcomes.blocked(np.zeros(1, np.int32), np.array([3])).tolist() == [True]


def plan(unlabelled: str | None) -> Plan:
    return plan_from({} if unlabelled is None else {"label_policy": {"unlabelled": unlabelled}})


def policies(world: World, first: str | None, *later: str | None) -> LabelPolicies:
    version = {"champion": Version("fraud", "1.0.0")}
    routings = {
        2 * (number + 1): Routing(2 * (number + 1), version, shared=plan(unlabelled))
        for number, unlabelled in enumerate(later)
    }
    return LabelPolicies(plan(first), lambda: routings, world)


def test_a_row_settles_by_the_revision_at_its_offset(world: World) -> None:
    found = policies(world, None, "ignore", "genuine").split(
        np.array([0, 0, 0, 1, 0], np.int32), np.array([4, 5, 8, 99, 9])
    )
    told = [(policy.on, policy.unlabelled, revision, rows.tolist())
            for policy, revision, rows in found]  # fmt: skip
    assert told == [
        (False, "genuine", 0, [0, 3]), (True, "ignore", 2, [1, 2]), (True, "genuine", 4, [4])
    ]  # fmt: skip


def test_policies_are_on_as_soon_as_a_revision_has_one(world: World) -> None:
    assert not policies(world, None, None).on
    assert policies(world, None, None, "ignore").on
    assert policies(world, "genuine").on
    assert not LabelPolicies(Plan()).on


def test_a_revision_that_is_not_read_yet_is_waited_for(world: World) -> None:
    with pytest.raises(Paused, match="revision 4 is active, and not read here yet"):
        policies(world, None, "ignore").split(np.zeros(1, np.int32), np.array([9]))
