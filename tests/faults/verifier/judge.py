"""The verdict: compares what was sent with what a read-committed reader sees and the broker's log.

This package imports nothing of the scorer, and reads only its published schemas.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tests.faults.verifier.answers import AnswersVerdict
from tests.faults.verifier.payloads import Outcome, Sent, outcome
from tests.faults.verifier.reader import Seen
from tests.faults.verifier.replay import WHOLE, History, Remembered, Replay
from tests.faults.verifier.segments import Fate, Logs

Place = tuple[str, int, int]
Source = tuple[int, int]

_EXAMPLES = 5
_LATE = "late"


@dataclass(slots=True)
class Verdict:
    """The number of faults of each kind; no fault means exactly once.

    Attributes:
        sent: Input records that a read-committed consumer gets.
        copies: Those among them that the broker stored again without telling their producer.
        decisions: Decisions that were seen at the end.
        dead_letters: Dead letters that were seen at the end.
        lost: Input records without a decision or dead letter.
        duplicates: Further outcomes, at the end or before, of a record that already has one.
        aborted_visible: Records that a reader got although, by the broker's log, their transaction
            was not committed.
        unexpected: Outcomes of records that were not sent or were aborted, and unreadable ones.
        disordered: Outcomes after one of a later record with the same key.
        wrong: Outcomes that differ from the replay's: kind, reason, id, key, features, bytes.
        unstable: Records that the live reader saw and that are different or gone at the end, and
            records at the end that the live reader never got.
        state: Events that only the exported state has, or only the replay.
        answers: Faults of the gateways' answers.
        examples: The first few of each fault.
        asked: Counts of what clients asked the gateways for; empty without gateways.
    """

    sent: int = 0
    copies: int = 0
    decisions: int = 0
    dead_letters: int = 0
    lost: int = 0
    duplicates: int = 0
    aborted_visible: int = 0
    unexpected: int = 0
    disordered: int = 0
    wrong: int = 0
    unstable: int = 0
    state: int = 0
    answers: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> dict[str, int]:
        """The number of faults by name, of those that it found."""
        counts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NO_FAULTS}
        return {name: count for name, count in counts.items() if count}

    @property
    def clean(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def note(self, fault: str, what: object) -> None:
        """Count a fault and keep the first few examples."""
        setattr(self, fault, getattr(self, fault) + 1)
        known = self.examples.setdefault(fault, [])
        if len(known) < _EXAMPLES:
            known.append(str(what))

    def take_answers(self, answers: AnswersVerdict, told: Mapping[str, Any]) -> None:
        """Add the verdict on the gateways' answers.

        Args:
            answers: The verdict.
            told: What the report shows next to its counts.
        """
        self.asked = {**answers.as_record(), **told}
        self.answers += answers.faults.total()
        for fault, found in answers.examples.items():
            self.examples.setdefault("answers", []).extend(f"{fault}: {each}" for each in found)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


_NO_FAULTS = {"sent", "copies", "decisions", "dead_letters", "examples", "asked"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data that a verdict is based on.

    Attributes:
        source_topic: The input.
        outcome_topics: Topics of decisions and dead letters. Other outputs are only compared with
            the broker's log.
        sent: What the producers sent, with the coordinates that the broker acknowledged, and the
            copies that it stored besides.
        final: What a read-committed reader gets of the outputs at the end.
        live: What a read-committed reader got before.
        logs: The brokers' logs.
        history: What an operator did to the customers' histories.
        deleted: (partition, offset) of input records that retention deleted before a read.
    """

    source_topic: str
    outcome_topics: frozenset[str]
    sent: Sequence[Sent]
    final: Sequence[Seen]
    live: Sequence[Seen]
    logs: Logs
    history: History = WHOLE
    deleted: frozenset[Source] = frozenset()

    def given(self) -> list[Sent]:
        """Return the input records that a read-committed consumer gets."""
        return [
            record
            for record in self.sent
            if record.source not in self.deleted
            and self.logs.fate(self.source_topic, *record.source) in _GIVEN
        ]


_GIVEN = {Fate.COMMITTED, Fate.PLAIN}


def judge(evidence: Evidence) -> tuple[Verdict, Replay]:
    """Judge outputs; return the replay, too, so that the state can be compared with it."""
    verdict = Verdict()
    given = {record.source: record for record in evidence.given()}
    replay = Replay(evidence.history)
    replay.fold(given.values())
    verdict.sent = len(given)
    verdict.copies = sum(record.copy for record in given.values())

    final = _outcomes(verdict, evidence)
    verdict.dead_letters = sum(bool(each.reason) for each in final)
    verdict.decisions = len(final) - verdict.dead_letters
    _each_once(verdict, given, final)
    _like_replay(verdict, replay, given, final)
    _in_order(verdict, final)
    _live_like_final(verdict, evidence)
    _none_aborted(verdict, evidence)
    return verdict, replay


def judge_state(
    verdict: Verdict,
    replay: Replay,
    remembered: Iterable[Remembered],
    within_ms: int | None = None,
) -> None:
    """Compare the exported state with the replay's, event by event.

    Args:
        verdict: Gets the differences.
        replay: A replay of the same input; it evicts nothing.
        remembered: The exported state.
        within_ms: Maximum age of the compared events, relative to the newest event of their
            partition. When a scorer evicts older ones is not judged. None: all are compared.
    """
    expected, found = replay.remembered(), Counter(remembered)
    if replay.moved:
        found = Counter({(-1, *rest): n for (_, *rest), n in found.items()})  # type: ignore[misc]
    if within_ms is not None:
        newest: dict[int, int] = {}
        for partition, _, time, _ in expected:
            newest[partition] = max(newest.get(partition, time), time)
        expected, found = (
            Counter({e: n for e, n in held.items() if e[2] >= newest.get(e[0], 0) - within_ms})
            for held in (expected, found)
        )
    for what, times in ((found - expected) + (expected - found)).items():
        for _ in range(times):
            verdict.note("state", what)


def _outcomes(verdict: Verdict, evidence: Evidence) -> list[Outcome]:
    found = []
    for record in sorted(evidence.final, key=lambda seen: seen.place):
        if record.topic not in evidence.outcome_topics:
            continue
        try:
            found.append(outcome(record, evidence.source_topic))
        except (ValueError, LookupError, EOFError) as error:
            verdict.note("unexpected", f"{record.place}: {error}")
    return found


def _each_once(verdict: Verdict, given: Mapping[Source, Sent], final: Sequence[Outcome]) -> None:
    times = Counter(each.source for each in final)
    for source in given.keys() - times.keys():
        verdict.note("lost", source)
    for source in times.keys() - given.keys():
        verdict.note("unexpected", source)
    for source, count in times.items():
        for _ in range(count - 1):
            verdict.note("duplicates", source)


def _like_replay(
    verdict: Verdict, replay: Replay, given: Mapping[Source, Sent], final: Sequence[Outcome]
) -> None:
    for each in final:
        record = given.get(each.source)
        if record is None:
            continue
        due = replay.due[each.source]
        found = (each.reason, each.transaction_id, each.features, _LATE in each.flags)
        expected = (due.reason, due.transaction_id, due.features, due.late)
        bytes_kept = not each.reason or each.seen.value == record.value
        if found != expected or each.seen.key != record.key or not bytes_kept:
            verdict.note("wrong", f"{each.source}: {found}, not {expected}")


def _in_order(verdict: Verdict, final: Sequence[Outcome]) -> None:
    """Check that, for each key and source partition, outcomes are in the order of their sources."""
    newest: dict[tuple[str, bytes | None, int], tuple[int, int]] = {}
    for each in final:
        partition, offset = each.source
        at = (each.seen.topic, each.seen.key, partition)
        lies, before = newest.get(at, (each.seen.partition, -1))
        if each.seen.key is not None and (offset < before or lies != each.seen.partition):
            verdict.note("disordered", f"{each.seen.key!r}: {offset} behind {before}")
        newest[at] = (each.seen.partition, max(offset, before))


def _live_like_final(verdict: Verdict, evidence: Evidence) -> None:
    """Check that the live reader got exactly the final records, each once."""
    final = {seen.place: seen for seen in evidence.final}
    live: set[Place] = set()
    for seen in evidence.live:
        kept = final.get(seen.place)
        if kept is None or (kept.key, kept.value) != (seen.key, seen.value):
            verdict.note("unstable", f"{seen.place}: gone or changed")
        elif seen.place in live:
            verdict.note("unstable", f"{seen.place}: given twice")
        live.add(seen.place)
    for place in final.keys() - live:
        verdict.note("unstable", f"{place}: never seen meanwhile")


def _none_aborted(verdict: Verdict, evidence: Evidence) -> None:
    """Check that the transaction of every record that a reader got is committed by the log."""
    for place in {seen.place for seen in (*evidence.final, *evidence.live)}:
        fate = evidence.logs.fate(*place)
        if fate is not Fate.COMMITTED:
            verdict.note("aborted_visible", f"{place}: {fate}")
