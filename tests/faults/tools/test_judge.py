"""Each fault of outputs is counted under its own name, and flawless outputs have none."""

import io
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import fastavro
import pytest

from tests.faults.suite.proof import MUTANTS
from tests.faults.suite.traffic import Ledger, traffic
from tests.faults.verifier.judge import Evidence, Verdict, judge, judge_state
from tests.faults.verifier.payloads import Sent, schema, transaction
from tests.faults.verifier.reader import Seen
from tests.faults.verifier.replay import Due, History, Replay
from tests.faults.verifier.segments import Fate, Logs

INPUT, DECISIONS, LETTERS = "transactions", "decisions", "letters"


class Told(Logs):
    """Logs in which all records are committed, except those that a test names."""

    def __init__(self, fates: Mapping[tuple[str, int, int], Fate]) -> None:
        super().__init__([])
        self._told = fates

    def fate(self, topic: str, partition: int, offset: int) -> Fate:
        return self._told.get((topic, partition, offset), Fate.COMMITTED)


def decision(record: Sent, due: Due) -> bytes:
    row = transaction(record.value or b"")
    features = struct.pack(f"<{len(due.features)}d", *due.features)
    found: dict[str, Any] = {
        "transaction_id": row["transaction_id"], "customer_id": row["customer_id"],
        "terminal_id": row["terminal_id"], "event_time": row["event_time"], "decided_at": 0,
        "score": 0.0, "decision": "APPROVE", "model": "fraud", "model_version": "1.0.0",
        "features": features, "flags": ["late"] if due.late else [], "source_topic": INPUT,
        "source_partition": record.partition, "source_offset": record.offset,
    }  # fmt: skip
    numbers = {"long": 0, "int": 0, "double": 0.0, "string": ""}
    for each in schema("decision.v2")["fields"]:
        if each["name"] not in found and "default" not in each:
            found[each["name"]] = numbers[each["type"]]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema("decision.v2"), found)
    return b"\0" + (11).to_bytes(4, "big") + out.getvalue()


def flawless(records: Sequence[Sent]) -> list[Seen]:
    """Return the outputs that a scorer must publish, computed by a replay."""
    replay = Replay()
    replay.fold(records)
    ends: dict[tuple[str, int], int] = {}
    seen = []
    for record in records:
        due = replay.due[record.source]
        topic, value = DECISIONS, record.value
        headers: tuple[tuple[str, bytes | None], ...] = ()
        if due.reason:
            topic = LETTERS
            told = {
                "dlq.reason": due.reason, "dlq.source.topic": INPUT,
                "dlq.source.partition": record.partition, "dlq.source.offset": record.offset,
            }  # fmt: skip
            headers = tuple((name, str(text).encode()) for name, text in told.items())
        else:
            value = decision(record, due)
        offset = ends.get((topic, record.partition), 0)
        ends[topic, record.partition] = offset + 1
        seen.append(Seen(topic, record.partition, offset, record.key, value, headers, 0, 0.0))
    return seen


@cache
def sent() -> tuple[Sent, ...]:
    ends: dict[int, int] = {}
    records = []
    for number, record in enumerate(traffic()[:800]):
        offset = ends.get(record.partition, 0)
        ends[record.partition] = offset + 1
        records.append(Sent(number, record.partition, offset, record.key, record.value, record.bad))
    return tuple(records)


def seen_in_input(record: Sent) -> Seen:
    return Seen(INPUT, record.partition, record.offset, record.key, record.value, (), 0, 0.0)


def evidence(
    seen: Sequence[Seen] | None = None,
    fates: Mapping[tuple[str, int, int], Fate] | None = None,
    given: Sequence[Sent] | None = None,
) -> Evidence:
    given = sent() if given is None else given
    seen = flawless(given) if seen is None else seen
    return Evidence(INPUT, frozenset({DECISIONS, LETTERS}), given, seen, seen, Told(fates or {}))


def test_flawless_outputs_have_no_fault() -> None:
    verdict, replay = judge(evidence())
    assert verdict.faults == {}
    assert verdict.clean
    assert verdict.sent == len(sent()) == verdict.decisions + verdict.dead_letters
    assert verdict.decisions > 600
    assert verdict.dead_letters > 50
    judge_state(verdict, replay, replay.remembered().elements())
    assert verdict.clean


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.thorough) for n in range(1, 5))]
)
@pytest.mark.parametrize("fault", list(MUTANTS))
def test_a_seeded_fault_is_counted_under_its_name(fault: str, seed: int) -> None:
    verdict, _ = judge(MUTANTS[fault](evidence(), random.Random(seed)))  # noqa: S311 no secrets
    assert verdict.faults[fault] == 1
    assert not verdict.clean
    assert verdict.examples[fault]


@pytest.mark.parametrize("fate", [Fate.ABORTED, Fate.OPEN, Fate.PLAIN, Fate.ABSENT])
def test_what_the_log_does_not_call_committed_must_not_be_seen(fate: Fate) -> None:
    verdict, _ = judge(evidence(fates={(DECISIONS, 1, 7): fate}))
    assert verdict.faults == {"aborted_visible": 1}


def test_an_outcome_of_an_aborted_input_record_is_unexpected() -> None:
    verdict, _ = judge(evidence(fates={(INPUT, *sent()[-1].source): Fate.ABORTED}))
    assert verdict.faults == {"unexpected": 1}
    assert verdict.sent == len(sent()) - 1


Change = Callable[[Seen], Seen]


@pytest.mark.parametrize(
    ("topic", "change", "fault"),
    [
        (DECISIONS, lambda s: replace(s, key=b"another"), "wrong"),
        (LETTERS, lambda s: replace(s, value=b"changed"), "wrong"),
        (DECISIONS, lambda s: replace(s, value=None), "unexpected"),
        (DECISIONS, lambda s: replace(s, value=b"no Avro"), "unexpected"),
    ],
)
def test_an_outcome_must_equal_the_replays(topic: str, change: Change, fault: str) -> None:
    seen = flawless(sent())
    at = next(number for number, each in enumerate(seen) if each.topic == topic)
    seen[at] = change(seen[at])
    verdict, _ = judge(evidence(seen))
    assert verdict.faults[fault] == 1


def test_a_feature_that_differs_in_its_last_bit_is_wrong() -> None:
    seen = flawless(sent())
    replay = Replay()
    replay.fold(sent())
    due = replay.due[sent()[0].source]
    last = struct.pack("<d", due.features[-1])
    other = struct.pack("<q", struct.unpack("<q", last)[0] ^ 1)
    value = seen[0].value or b""
    at = value.rindex(last)
    seen[0] = replace(seen[0], value=value[:at] + other + value[at + 8 :])
    verdict, _ = judge(evidence(seen))
    assert verdict.faults == {"wrong": 1}


def test_observed_records_must_be_unchanged_at_the_end() -> None:
    seen = flawless(sent())
    live = [replace(seen[0], value=b"once"), *seen[2:], seen[5], replace(seen[9], offset=99_999)]
    verdict, _ = judge(replace(evidence(seen), live=live))
    # One is changed, one is never seen, one is seen twice, and one is gone.
    assert verdict.faults == {"unstable": 4}


def test_the_state_must_equal_the_replay_event_by_event() -> None:
    verdict, replay = judge(evidence())
    remembered = list(replay.remembered().elements())
    judge_state(verdict, replay, [*remembered[1:], (0, "nobody", 1, 1)])
    assert verdict.faults == {"state": 2}


def test_only_remembered_events_of_a_state_are_judged() -> None:
    _, replay = judge(evidence())
    whole = sorted(replay.remembered().elements(), key=lambda event: event[2])
    partition = whole[-1][0]
    mine = [event for event in whole if event[0] == partition]
    others = [event for event in whole if event[0] != partition]
    within = mine[-1][2] - mine[1][2]
    for left, faults in ((mine[1:], {}), (mine[2:], {"state": 1}), (mine[1:-1], {"state": 1})):
        verdict = Verdict()
        judge_state(verdict, replay, [*others, *left], within)
        assert verdict.faults == faults


def test_a_rebuilt_history_begins_where_it_was_rebuilt() -> None:
    at = dict.fromkeys(range(4), 100)
    replay = Replay(History(begins=at))
    replay.fold(sent())
    fresh = Replay()
    fresh.fold(record for record in sent() if record.offset >= 100)
    assert replay.remembered() == fresh.remembered()
    assert all(replay.due[s] == due for s, due in fresh.due.items())


def test_records_acknowledged_without_an_offset_are_found() -> None:
    ledger = Ledger()
    whole = sent()
    # A record that was sent twice on purpose is there twice, in the order of sending.
    twice = next(n for n, record in enumerate(whole) if record.reason == "DUPLICATE")
    lost = {twice - 1, twice, 300}
    ledger._sent = [replace(r, offset=-1) if n in lost else r for n, r in enumerate(whole)]
    ledger.locate(lambda: map(seen_in_input, whole))
    assert ledger.sent() == list(whole)


def test_a_record_that_the_broker_stored_twice_is_input_twice() -> None:
    ledger, whole = Ledger(), sent()
    again = replace(whole[10], offset=max(r.offset for r in whole) + 1)
    ledger._sent = list(whole)
    ledger.locate(lambda: map(seen_in_input, [*whole, again]))
    copied = ledger.sent()
    assert set(copied) - set(whole) == {replace(again, copy=True)}
    verdict, _ = judge(evidence(given=sorted(copied, key=lambda record: record.offset)))
    assert verdict.faults == {}
    assert verdict.copies == 1
    # An outcome that treats the copy as another transaction is wrong.
    verdict, _ = judge(evidence(flawless(whole), given=copied))
    assert verdict.faults == {"lost": 1}


def test_a_record_of_the_input_that_nobody_sent_is_no_copy() -> None:
    ledger, whole = Ledger(), sent()
    strange = replace(whole[10], offset=10_000, value=b"strange")
    ledger._sent = list(whole)
    ledger.locate(lambda: map(seen_in_input, [*whole, strange]))
    assert ledger.sent() == list(whole)
