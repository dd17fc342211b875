"""A process's view of the control log: outages lose nothing, and outdated heads are refused."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.errors import RegistryUnavailableError, RolloutError
from stream_scorer.kafka.loop.control_topic import ControlRecord
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rollout.controller.decide import Action
from stream_scorer.rollout.controller.process import ControllerLoop
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.log import control_log
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.operator.commands import Operator
from stream_scorer.rollout.operator.reports import history
from stream_scorer.rollout.plan.command_kinds import (
    CommandKind,
    Pause,
    Rollback,
    Step,
    VerdictGiven,
)
from stream_scorer.rollout.plan.control_record import BEGINNING, Authority, Command, write
from stream_scorer.rollout.plan.fold_commands import REFUSED_KEPT, FoldedRecord
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from stream_scorer.telemetry import Event, RolloutHeld
from tests.support.rollout.scene import Writer, plan

_ELSEWHERE = 4_711
"""The schema's id in another registry, so that it must be requested."""


class Topic:
    """A topic of one partition in memory; every reader continues from its own position."""

    def __init__(self) -> None:
        self.records: list[ControlRecord] = []

    def put(self, value: bytes) -> int:
        self.records.append(ControlRecord(len(self.records), None, value))
        return len(self.records) - 1


class Reader:
    """Like ``KeptTopic``, but over a :class:`Topic`."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._next = 0

    def to_end(self) -> Sequence[ControlRecord]:
        found = self._topic.records[self._next :]
        self._next += len(found)
        return found

    def parts_to_end(self) -> Iterator[Sequence[ControlRecord]]:
        end = len(self._topic.records)
        while self._next < end:
            self._next += 1
            yield self._topic.records[self._next - 1 : self._next]

    def poll(self, wait: float) -> Sequence[ControlRecord]:  # noqa: ARG002 nothing is waited for
        return self.to_end()

    def close(self) -> None:
        pass


class Registry(FileRegistry):
    """The shipped schemas, and the log's under another id unless there is an outage."""

    def __init__(self) -> None:
        super().__init__(SCHEMAS_DIRECTORY)
        self.out = False

    def writer_schema(self, schema_id: int) -> str:
        if self.out:
            raise RegistryUnavailableError("registry: no answer")
        if schema_id == _ELSEWHERE:
            return reader_schema("rollout.v1")
        return super().writer_schema(schema_id)


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def log(topic: Topic, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> ControlLog:
    monkeypatch.setattr(control_log, "open_registry", lambda _: registry)
    monkeypatch.setattr(control_log, "KeptTopic", lambda *_: Reader(topic))
    monkeypatch.setattr(control_log, "append", lambda *written: topic.put(written[-1]))
    return ControlLog(Settings())


def encoded(command: Command) -> bytes:
    return RecordCodec(_ELSEWHERE, reader_schema("rollout.v1")).encode(asdict(command))


def written(topic: Topic) -> None:
    """Write a plan and a step by a writer whose registry has another id."""
    writer = Writer(Authority())
    for kind, said in (("plan", plan().model_dump(mode="json")), ("step", {"stage": 1})):
        command = writer.make(kind, None, **said)
        assert writer.take(command).accepted
        topic.put(encoded(command))


@pytest.mark.parametrize("by", ["refresh", "poll"])
def test_commands_read_during_a_registry_outage_apply_after_it(
    log: ControlLog, topic: Topic, registry: Registry, by: str
) -> None:
    written(topic)
    registry.out = True
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            log.refresh() if by == "refresh" else log.poll(0.0)
    assert not log.log.entries
    registry.out = False
    if by == "refresh":
        assert log.refresh().stage == 1
    else:
        assert [entry.offset for entry in log.poll(0.0)] == [0, 1]
    assert [entry.refused for entry in log.log.entries] == ["", ""]


FAST = VerdictGiven(guard="fast", verdict=Verdict.CONTINUE)


def test_a_command_is_for_the_state_that_it_was_decided_on(log: ControlLog, topic: Topic) -> None:
    log.append(CommandKind.PLAN, plan(), None)
    decided_on = log.log.state.head
    log.append(CommandKind.PLAN, plan(name="b"), None, expected=decided_on)
    told = "rollback was not written: another command came first — look at"
    with pytest.raises(RolloutError, match=told):
        log.append(CommandKind.ROLLBACK, Rollback(), None, expected=decided_on)
    assert len(topic.records) == 2
    assert log.log.state.running
    # A command without an expected head is accepted, and so is one with the current head.
    log.append(CommandKind.STEP, Step(stage=1), None)
    log.append(CommandKind.ROLLBACK, Rollback(), None, expected=log.log.state.head)
    assert not log.log.state.running


def test_verdicts_in_between_do_not_matter(log: ControlLog) -> None:
    log.append(CommandKind.PLAN, plan(), None)
    decided_on = log.log.state.head
    log.append(CommandKind.VERDICT, FAST, None, expected=decided_on)
    log.append(CommandKind.VERDICT, FAST, None, expected=decided_on)
    assert not log.log.moved_since(decided_on)
    assert log.log.moved_since(bytes(31) + b"1")
    log.append(CommandKind.STEP, Step(stage=1), None, expected=decided_on)
    log.append(CommandKind.VERDICT, FAST, None)
    assert log.log.moved_since(decided_on)


@pytest.fixture
def overtaken(log: ControlLog, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    """Return commands of others; each write of ours comes after one of them, until none is left."""
    waiting: list[Command] = []

    def after_another(*written: bytes) -> int:
        if waiting:
            topic.put(log.encode(waiting.pop(0)))
        return topic.put(written[-1])

    monkeypatch.setattr(control_log, "append", after_another)
    return waiting


def test_a_command_that_a_verdict_overtakes_is_written_again(
    log: ControlLog, topic: Topic, overtaken: list[Command]
) -> None:
    log.append(CommandKind.PLAN, plan(), None)
    decided_on = log.log.state.head
    verdict = log.prepare(CommandKind.VERDICT, FAST, None, 5)
    overtaken.append(verdict)
    overtaken.append(write(3, verdict.hash, CommandKind.VERDICT, FAST, 5, None))
    entry = log.append(CommandKind.STEP, Step(stage=1), None, expected=decided_on)
    assert (entry.accepted, entry.offset, log.log.state.stage) == (True, 5, 1)
    assert [each.accepted for each in log.log.entries] == [True, True, False, True, False, True]
    assert len(topic.records) == 6


def test_a_command_that_another_overtakes_is_not_written_again(
    log: ControlLog, topic: Topic, overtaken: list[Command]
) -> None:
    log.append(CommandKind.PLAN, plan(), None)
    overtaken.append(log.prepare(CommandKind.PLAN, plan(name="b"), None, 5))
    with pytest.raises(RolloutError, match="rollback changed nothing: has number 2, and 3 is next"):
        log.append(CommandKind.ROLLBACK, Rollback(), None, expected=log.log.state.head)
    assert len(topic.records) == 3
    assert log.log.state.running


def test_a_command_that_is_always_overtaken_is_given_up(
    log: ControlLog, overtaken: list[Command]
) -> None:
    log.append(CommandKind.PLAN, plan(), None)
    decided_on, head = log.log.state.head, log.log.state.head
    for number in range(2, 20):
        overtaken.append(write(number, head, CommandKind.VERDICT, FAST, 5, None))
        head = overtaken[-1].hash
    with pytest.raises(RolloutError, match="changed nothing: has number 11, and 12 is next"):
        log.append(CommandKind.STEP, Step(stage=1), None, expected=decided_on)
    assert log.log.state.stage == 0


def test_of_two_plans_on_an_empty_log_one_counts(log: ControlLog) -> None:
    nothing = log.log.state.head
    assert not log.log.moved_since(nothing)
    log.append(CommandKind.PLAN, plan(), None, expected=nothing)
    with pytest.raises(RolloutError, match="plan was not written: another command came first"):
        log.append(CommandKind.PLAN, plan(name="b"), None, expected=nothing)


def test_an_operator_rolls_back_no_other_rollout(log: ControlLog) -> None:
    other = ControlLog(Settings())
    ann, bob = Operator(log, None, AuditTrail()), Operator(other, None, AuditTrail())
    ann.start(plan(), replace=False)
    other.refresh()
    ann.start(plan(name="b"), replace=True)
    with pytest.raises(RolloutError, match="rollback was not written: another command came first"):
        bob.rollback()
    # The refused call has read the new commands, so the next one knows what it ends.
    assert bob.state.running
    assert bob.rollback()["now"]["phase"] == "rolled back"


def test_one_of_two_simultaneous_starts_is_refused(log: ControlLog) -> None:
    ann = Operator(log, None, AuditTrail())
    bob = Operator(ControlLog(Settings()), None, AuditTrail())
    ann.start(plan(), replace=False)
    with pytest.raises(RolloutError, match="plan was not written: another command came first"):
        bob.start(plan(name="b"), replace=False)


class Due:
    """Reports once that a rollback is due, while another writer begins another rollout."""

    def __init__(self, log: ControlLog, other: ControlLog) -> None:
        self._log = log
        self._other = other
        self.looks = 0

    def due(self) -> tuple[bytes, list[VerdictGiven], Action]:
        self.looks += 1
        head = self._log.refresh().head
        if self.looks == 1:
            self._other.append(CommandKind.PLAN, plan(name="b", controller={}), None)
        return head, [], Action(CommandKind.ROLLBACK, Rollback(), False, ("alerts",))


def test_a_controller_whose_rollout_was_replaced_looks_again(log: ControlLog) -> None:
    other = ControlLog(Settings())
    other.append(CommandKind.PLAN, plan(controller={}), None)
    told: list[Event] = []
    due = Due(log, other)
    loop = ControllerLoop.__new__(ControllerLoop)
    parts = {
        "_log": log, "_controlling": due, "_audit": AuditTrail(), "_key": None, "_raw": None,
        "_listener": told.append, "_folded": 0,
    }  # fmt: skip
    vars(loop).update(parts)
    loop.act()
    assert log.log.state.running
    assert told == [RolloutHeld("rollback", "rollback was not written: another command came first")]
    loop.act()
    assert due.looks == 2
    assert not log.log.state.running


def test_a_record_is_given_to_its_reader_once_and_complete(
    topic: Topic, registry: Registry, log: ControlLog
) -> None:
    written(topic)
    topic.put(b"nothing")
    log.append(CommandKind.PAUSE, Pause(), None)
    told: list[FoldedRecord] = []
    reader = ControlLog(Settings(), on_record=told.append)
    registry.out = True
    with pytest.raises(RegistryUnavailableError):
        reader.refresh()
    assert told == []
    registry.out = False
    reader.refresh()
    assert [(each.offset, each.accepted) for each in told] == [
        (0, True), (1, True), (2, False), (3, True),
    ]  # fmt: skip
    assert isinstance(told[3].body, Pause)
    reader.poll(0.0)
    assert len(told) == reader.log.records == 4


def test_the_history_contains_records_that_the_log_dropped(topic: Topic, log: ControlLog) -> None:
    late = log.encode(write(1, BEGINNING, CommandKind.PAUSE, Pause(), 5, None))
    log.append(CommandKind.PLAN, plan(), None)
    for _ in range(REFUSED_KEPT + 1):
        topic.put(late)
    log.append(CommandKind.STEP, Step(stage=1), None)
    assert len(log.log.entries) == REFUSED_KEPT + 2
    told = history(Settings())
    assert [row["offset"] for row in told] == list(range(REFUSED_KEPT + 3))
    assert {row["kind"] for row in told if not row["accepted"]} == {"pause"}
    assert [row["offset"] for row in told if row["accepted"]] == [0, REFUSED_KEPT + 2]


def test_a_command_is_found_among_many_refused_records(
    topic: Topic, log: ControlLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def between(*written: bytes) -> int:
        """Append as :func:`append`; others write many records in the meantime."""
        offset = topic.put(written[-1])
        for _ in range(REFUSED_KEPT + 1):
            topic.put(b"nothing")
        return offset

    monkeypatch.setattr(control_log, "append", between)
    entry = log.append(CommandKind.PLAN, plan(), None)
    assert (entry.offset, entry.accepted) == (0, True)
    with pytest.raises(RolloutError, match="step is refused: a ramp only ascends"):
        log.append(CommandKind.STEP, Step(stage=0), None)


def test_a_reader_that_was_stopped_reads_no_further(log: ControlLog, topic: Topic) -> None:
    log.append(CommandKind.PLAN, plan(), None)
    state = log.log.state
    topic.put(log.encode(write(9, state.head, CommandKind.PAUSE, Pause(), 5, None)))
    topic.put(log.encode(write(2, state.head, CommandKind.STEP, Step(stage=1), 5, None)))
    for read_on in (log.refresh, lambda: log.poll(0.0)):
        with pytest.raises(RolloutError, match="number 2 was expected, and 9 came"):
            read_on()
    with pytest.raises(RolloutError, match="number 2 was expected, and 9 came"):
        log.append(CommandKind.ROLLBACK, Rollback(), None)
    assert log.log.state == state
