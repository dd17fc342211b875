"""Brokers of a script: looks, records and open transactions as a test sets them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_scorer.lag.broker.looks import GroupLook, Look, PartitionLook, Place
from stream_scorer.lag.broker.open_transactions import OpenTransaction
from stream_scorer.lag.broker.record_reader import FoundRecord
from stream_scorer.lag.verdicts.sample import LagRules
from stream_scorer.lag.watch.passes import LagPasses

AT: Place = ("transactions", 0)


@dataclass
class ScriptedBrokers:
    """What the brokers report next, and what they were asked for.

    Attributes:
        time: Of the next look.
        partitions: Start, last stable offset and high watermark.
        groups: The groups.
        records: The first record from an offset on, by partition and offset.
        open: Open transactions.
        complete: Whether these are all.
        error: Why nothing is reported.
        asked: Offsets of every call for records.
    """

    time: float = 1_000.0
    partitions: dict[Place, PartitionLook] = field(default_factory=dict)
    groups: dict[str, GroupLook] = field(default_factory=dict)
    records: dict[tuple[Place, int], FoundRecord] = field(default_factory=dict)
    open: dict[Place, OpenTransaction] = field(default_factory=dict)
    complete: bool = True
    error: str = ""
    asked: list[dict[Place, int]] = field(default_factory=list)
    closed: int = 0

    def look(self) -> Look:
        if self.error:
            return Look(self.time, error=self.error)
        return Look(self.time, dict(self.partitions), dict(self.groups))

    def first_records(
        self, starts: Mapping[Place, int], seconds: float | None = None
    ) -> dict[Place, FoundRecord]:
        del seconds
        if starts:
            self.asked.append(dict(starts))
        return {
            at: self.records[at, start]
            for at, start in starts.items()
            if (at, start) in self.records
        }

    def by_place(self) -> dict[Place, OpenTransaction]:
        return self.open

    def close(self) -> None:
        self.closed += 1

    def partition(
        self, high: int, stable: int | None = None, start: int = 0, at: Place = AT
    ) -> None:
        self.partitions[at] = PartitionLook(start, high if stable is None else stable, high)

    def group(
        self, committed: Mapping[Place, int], owner: str = "scorer-0 at /h", name: str = "g",
        members: int = 1,
    ) -> None:  # fmt: skip
        owners = dict.fromkeys(committed, owner) if owner else {}
        self.groups[name] = GroupLook(members, owners, frozenset(committed), dict(committed))


def passes(brokers: ScriptedBrokers, interval: float = 10.0, most: int = 200) -> LagPasses:
    return LagPasses(brokers, brokers, brokers, brokers, LagRules(interval=interval), most)
