"""Passes over all groups: look, read what a verdict depends on, judge."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from stream_scorer.closing import Closing
from stream_scorer.lag.broker.looks import GroupLook, Look, PartitionLook, Place
from stream_scorer.lag.broker.open_transactions import OpenTransaction
from stream_scorer.lag.broker.record_reader import FoundRecord
from stream_scorer.lag.verdicts.append_times import LogEndCurve
from stream_scorer.lag.verdicts.history import LagHistory
from stream_scorer.lag.verdicts.judge import heaviest, judge
from stream_scorer.lag.verdicts.sample import LagJudgement, LagRules, LagSample, LagVerdict

_PROBES = 20
"""Topics whose newest record is read in a pass, for the clocks of their producers."""
_BEFORE_END = 3
"""Offsets before the end at which a probe begins: the last ones may be transaction markers."""

Watched = tuple[str, Place]
"""A group, and a partition."""

Awaited = tuple[bool, Place, int]
"""What groups wait for: whether they read uncommitted records, the partition and the offset."""


class Looks(Protocol):
    """What brings the numbers: a :class:`~stream_scorer.lag.broker.collector.Collector`."""

    def look(self) -> Look: ...  # noqa: D102 see there
    def close(self) -> None: ...  # noqa: D102


class Records(Protocol):
    """What reads records: a :class:`~stream_scorer.lag.broker.record_reader.FirstRecordReader`."""

    def first_records(  # noqa: D102
        self, starts: Mapping[Place, int], seconds: float | None = None
    ) -> dict[Place, FoundRecord]: ...
    def close(self) -> None: ...  # noqa: D102


class TransactionSearch(Protocol):
    """What finds open transactions: see ``lag.broker.open_transactions``."""

    complete: bool
    """Whether the last call found all of them."""

    def by_place(self) -> dict[Place, OpenTransaction]: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class LagSnapshot:
    """The result of one pass, which readers share.

    Attributes:
        time: When the log ends were read, seconds since the epoch.
        answered: Time of the last pass in which the brokers answered; 0: none did.
        seconds: How long the pass took.
        judgements: By group and partition.
        members: Members by group.
        partitions: Offsets by topic and partition.
        skews: Skew of the producers' clocks by topic, seconds.
        transactions: Open transactions that groups wait for, by topic and partition.
        error: Why the brokers did not answer.
        left_out: Groups that match a pattern and are not watched: too many, or too long a name.
    """

    time: float = 0.0
    answered: float = 0.0
    seconds: float = 0.0
    judgements: Mapping[Watched, LagJudgement] = field(default_factory=dict)
    members: Mapping[str, int] = field(default_factory=dict)
    partitions: Mapping[Place, PartitionLook] = field(default_factory=dict)
    skews: Mapping[str, float] = field(default_factory=dict)
    transactions: Mapping[Place, OpenTransaction] = field(default_factory=dict)
    error: str = ""
    left_out: int = 0

    def worst(self) -> dict[str, LagVerdict]:
        """Return the verdict of each group: the heaviest of its partitions."""
        found: dict[str, list[LagVerdict]] = {group: [] for group in self.members}
        for (group, _), judgement in self.judgements.items():
            found.setdefault(group, []).append(judgement.verdict)
        return {group: heaviest(verdicts) for group, verdicts in found.items()}


class LagPasses(Closing):
    """Judges all groups again and again; keeps what the next pass needs.

    Args:
        looks: Brings the numbers.
        records: Reads records, committed ones only.
        uncommitted: Reads records of open and aborted transactions, too, for the groups that do.
        transactions: Finds open transactions.
        rules: The numbers of the rules.
        records_most: Records that are read in a pass.
        event_time: Returns the event time of a record, seconds since the epoch; None: not known.
        on_demand: Groups whose programs run only when someone starts them, as ``dlq replay``.
        read_seconds: How long a pass may read the records that groups wait for.

    Attributes:
        snapshot: The last pass.
    """

    def __init__(
        self,
        looks: Looks,
        records: Records,
        uncommitted: Records,
        transactions: TransactionSearch,
        rules: LagRules,
        records_most: int = 200,
        event_time: Callable[[Place, bytes | None], float | None] = lambda _, __: None,
        on_demand: Collection[str] = (),
        read_seconds: float = 2.0,
    ) -> None:
        self._looks = looks
        self._records = records
        self._uncommitted = uncommitted
        self._transactions = transactions
        self._rules = rules
        self._records_most = records_most
        self._event_time = event_time
        self._on_demand = on_demand
        self._read_seconds = read_seconds
        self._event_times: dict[Awaited, float] = {}
        self._curves: dict[Place, LogEndCurve] = defaultdict(LogEndCurve)
        self._histories: dict[Watched, LagHistory] = {}
        self._places_before: dict[str, set[Place]] = {}
        self._found: dict[Awaited, tuple[int, FoundRecord]] = {}
        self._probed: dict[str, tuple[int, float]] = {}
        self._turn = 0
        self.snapshot = LagSnapshot()

    def close(self) -> None:
        """Close the connections."""
        self._looks.close()
        self._records.close()
        self._uncommitted.close()
        self._transactions.close()

    def run(self) -> LagSnapshot:
        """Make one pass; what the brokers do not report is UNKNOWN."""
        began = time.monotonic()
        look = self._looks.look()
        if look.error:
            self._see_nothing(look)
        else:
            self._see(look)
        judgements = {at: self._judge(at[1], history) for at, history in self._histories.items()}
        hanging = {at for (_, at), each in judgements.items() if each.verdict is LagVerdict.HANGING}
        opened = self._transactions.by_place() if hanging else {}
        self.snapshot = LagSnapshot(
            look.time,
            self.snapshot.answered if look.error else look.time,
            time.monotonic() - began,
            {at: self._naming(each, opened.get(at[1])) for at, each in judgements.items()},
            {name: group.members for name, group in look.groups.items()},
            look.partitions,
            {topic: skew for topic, (_, skew) in self._probed.items()},
            {at: each for at, each in opened.items() if at in hanging},
            look.error,
            look.left_out,
        )
        return self.snapshot

    def _naming(self, judgement: LagJudgement, transaction: OpenTransaction | None) -> LagJudgement:
        """Return a judgement that names the transaction which a group waits for."""
        if judgement.verdict is not LagVerdict.HANGING:
            return judgement
        if transaction is not None:
            name, number = transaction.transactional_id, transaction.producer_id
            who = f"transactional id {name}, producer {number}"
        elif self._transactions.complete:
            who = "its coordinator does not know it: kafka-transactions.sh find-hanging"
        else:
            who = "its producer is not known: __transaction_state was not read to its end"
        return replace(judgement, reason=f"{judgement.reason}; {who}")

    def _judge(self, at: Place, history: LagHistory) -> LagJudgement:
        judgement, sample = judge(history), history.last
        happened = None if sample is None else self._event_times.get(_awaited(at, sample))
        if happened is None or not judgement.to_stable:
            return judgement
        return replace(judgement, event_age=max(judgement.time - happened, 0.0))

    def _see_nothing(self, look: Look) -> None:
        for history in self._histories.values():
            history.add(LagSample(look.time, error=look.error))

    def _see(self, look: Look) -> None:
        for at, partition in look.partitions.items():
            if partition.high is not None and not partition.error:
                self._curves[at].add(look.time, partition.high)
        self._forget(look)
        samples = {
            (name, at): _sample(look, group, at, on_demand=name in self._on_demand)
            for name, group in look.groups.items()
            for at in group.places
            if at in look.partitions
        }
        self._read(samples)
        self._probe(look)
        for watched, sample in samples.items():
            self._history(watched).add(self._with_record(watched[1], sample))
        self._places_before = {name: set(group.places) for name, group in look.groups.items()}

    def _forget(self, look: Look) -> None:
        """Forget groups and partitions that are gone."""
        gone = [
            (name, at)
            for name, at in self._histories
            if name not in look.groups or at not in look.groups[name].places
        ]
        for watched in gone:
            del self._histories[watched]
        for at in [at for at in self._curves if at not in look.partitions]:
            del self._curves[at]

    def _history(self, watched: Watched) -> LagHistory:
        group, at = watched
        history = self._histories.get(watched)
        if history is None:
            known = self._places_before.get(group, set())
            # Not at the first sight of the group or the topic: then all its partitions are new.
            added = any(topic == at[0] for topic, _ in known) and at not in known
            history = self._histories[watched] = LagHistory(
                self._rules, self._curves[at], added=added
            )
        return history

    # -- records --------------------------------------------------------------------------------

    def _read(self, samples: Mapping[Watched, LagSample]) -> None:
        """Read the first record that each lagging group waits for, the most important first."""
        wanted: dict[Awaited, tuple[bool, int]] = {}
        reaches: dict[Awaited, int] = {}
        for (name, at), sample in samples.items():
            key = _awaited(at, sample)
            reaches[key] = sample.reach
            if not sample.complete or sample.to_stable == 0 or self._is_known(key, sample.reach):
                continue
            history = self._histories.get((name, at))
            last = None if history is None else history.last
            still = last is not None and last.next_offset == sample.next_offset
            wanted[key] = max(wanted.get(key, (False, 0)), (still, sample.to_stable))
        first = sorted(wanted, key=lambda key: wanted[key], reverse=True)[: self._records_most]
        committed = [key for key in first if not key[0]]
        uncommitted = [key for key in first if key[0]]
        # A reader that gets no answer must leave time for the other one.
        share = self._read_seconds / 2 if uncommitted else self._read_seconds
        deadline = time.monotonic() + self._read_seconds
        self._read_all(self._records, committed, reaches, time.monotonic() + share)
        self._read_all(self._uncommitted, uncommitted, reaches, deadline)
        self._found = {key: found for key, found in self._found.items() if key in reaches}
        self._event_times = {key: t for key, t in self._event_times.items() if key in reaches}

    def _is_known(self, key: Awaited, reach: int) -> bool:
        """Return whether it is known what is at an offset: a record stays, its absence may not."""
        if key not in self._found:
            return False
        until, record = self._found[key]
        return record.offset is not None or until == reach

    def _read_all(
        self,
        reader: Records,
        left: list[Awaited],
        reaches: Mapping[Awaited, int],
        deadline: float,
    ) -> None:
        while left and (seconds := deadline - time.monotonic()) > 0:
            # Groups may wait at several offsets of a partition, which a reader takes one by one.
            turn = {key[1]: key for key in reversed(left)}
            # A partition that does not answer must leave time for those that are asked again.
            share = seconds if len(turn) == len(left) else seconds / 2
            found = reader.first_records({at: key[2] for at, key in turn.items()}, share)
            for at, record in found.items():
                key = turn[at]
                readable = record.offset is not None and record.offset < reaches[key]
                known = FoundRecord(record.offset, record.time) if readable else FoundRecord(None)
                self._found[key] = (reaches[key], known)
                happened = self._event_time(at, record.value) if readable else None
                if happened is not None:
                    self._event_times[key] = happened
            left = [key for key in left if key[1] in found and turn[key[1]] != key]

    def _with_record(self, at: Place, sample: LagSample) -> LagSample:
        until, record = self._found.get(_awaited(at, sample), (0, None))
        if record is None or not sample.complete or sample.to_stable == 0:
            return sample
        if record.offset is None:
            return replace(sample, readable=False) if until == sample.reach else sample
        # A clock that is known to be off would place the record at an end of its interval.
        _, skew = self._probed.get(at[0], (0, 0.0))
        when = None if record.time is None else record.time - skew
        return replace(sample, readable=True, record_offset=record.offset, record_time=when)

    def _probe(self, look: Look) -> None:
        """Compare the newest record of some topics with the time at which it was appended."""
        topics: dict[str, list[tuple[int, Place]]] = defaultdict(list)
        for at, partition in look.partitions.items():
            if partition.stable and partition.start is not None and not partition.error:
                topics[at[0]].append((partition.stable, at))
        self._probed = {topic: each for topic, each in self._probed.items() if topic in topics}
        moved = [
            topic
            for topic, ends in sorted(topics.items())
            if sum(end for end, _ in ends) != self._probed.get(topic, (-1, 0.0))[0]
        ]
        self._turn = (self._turn + _PROBES) % max(len(moved), 1) if len(moved) > _PROBES else 0
        for_now = (moved[self._turn :] + moved[: self._turn])[:_PROBES]
        starts: dict[Place, int] = {}
        for topic in for_now:
            # The partition that grew most since the last pass: its newest record is young.
            end, at = max(topics[topic], key=lambda each: self._curves[each[1]].last_growth)
            starts[at] = max(end - _BEFORE_END, look.partitions[at].start or 0)
        for at, record in self._records.first_records(starts).items():
            if record.offset is None or record.time is None:
                continue
            appended = self._curves[at].append_time(record.offset, record.time)
            if appended is not None and appended.skew is not None:
                total = sum(end for end, _ in topics[at[0]])
                self._probed[at[0]] = (total, appended.skew)


def _awaited(at: Place, sample: LagSample) -> Awaited:
    return sample.uncommitted, at, sample.first_waiting


def _sample(look: Look, group: GroupLook, at: Place, *, on_demand: bool) -> LagSample:
    """Return the sample of one partition of one group, before its record is read."""
    partition = look.partitions[at]
    return LagSample(
        look.time,
        partition.start,
        partition.stable,
        partition.high,
        group.committed.get(at),
        group.members,
        group.owners.get(at, ""),
        error=group.error or partition.error,
        doubt=group.doubt,
        spread=look.spread,
        memberless=group.memberless,
        on_demand=on_demand,
    )
