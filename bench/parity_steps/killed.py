"""The parity bench's disturbed stream: kills of a scorer and of the profiler, two rebalances."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness.arena import PARTITIONS, Arena
from bench.harness.process import Contender
from bench.parity_steps.streams import (
    GLANCE_SECONDS,
    MODEL,
    SECONDS,
    Feeder,
    Run,
    Traffic,
    profiler_entry,
    read,
    wait,
)
from stream_scorer.kafka.topics.create_topics import create_topics

_JOIN_AT, _KILL_AT, _RETURN_AT = 0.1, 0.25, 0.8
_SESSION_MS = 6_000
_BATCH = 200
"""Small, so that transactions follow each other once rows have arrived."""


class Killed:
    """Four partitions, two instances, a profiler, two kills and two rebalances, while records flow.

    Its processes start immediately and wait for their turn.

    Args:
        arena: The arena.
        traffic: What is sent.
        plan: The plan's file.
        rate: Transactions per second.
    """

    def __init__(self, arena: Arena, traffic: Traffic, plan: Path, rate: float) -> None:
        self._arena = arena
        self._traffic = traffic
        names = {"first": "a", "second": "b", "again": "a"}
        entries = {
            name: arena.entry(
                f"killed-{name}", "killed.transactions",
                "run", "--from", "earliest", "--model", MODEL, "--plan", str(plan),
                outputs="killed", scorer={"maximum_batch": _BATCH},
                kafka={"group": "killed", "instance": instance, "session_timeout_ms": _SESSION_MS},
            )
            for name, instance in names.items()
        }  # fmt: skip
        self._entry = entries["first"]
        entries |= {
            name: profiler_entry(arena, f"killed-{name}", "killed", plan)
            for name in ("profiler", "profiler_again")
        }
        create_topics(self._entry.settings.kafka, PARTITIONS)
        self._feeder = Feeder(traffic, self._entry.settings, rate)
        self._happened: dict[str, Any] = {}
        self._faults: list[str] = []
        order = ("first", "profiler", "second", "profiler_again", "again")
        self._waiting = {name: arena.start(entries[name]) for name in order}
        self._running = dict[str, Contender]()

    def run(self, width: int) -> Run:
        """Run all steps; return the result."""
        self._begins("profiler")
        self._begins("first")
        self._until(lambda: sum(map(len, self._members().values())) == PARTITIONS, "first member")
        (first,) = self._members()
        topics = self._entry.settings.kafka.topics
        self._feeder.free(_JOIN_AT)
        self._feeder.start()
        self._fed(_JOIN_AT)
        self._kill("profiler", topics.terminal_profiles)
        self._begins("profiler_again")
        self._joins("second", {first})
        self._feeder.free(_RETURN_AT)
        self._fed(_KILL_AT)
        # With a profiler, so that the other scorer continues past what it takes over.
        self._kill("first", topics.decisions, first)
        self._joins("again", set(self._members()) - {first}, first)
        self._feeder.finish()
        count = len(self._traffic.keys)
        self._until(lambda: self._committed() == count, f"{count} committed")
        codes = {contender.entry.name: contender.stop() for contender in self._running.values()}
        self._faults += [f"{name} left with {code}" for name, code in codes.items() if code]
        left = read(self._arena, self._traffic, self._entry, PARTITIONS, width)
        left.happened |= self._happened
        left.faults += self._faults
        return left

    def _begins(self, name: str) -> None:
        """Start a process's work."""
        self._running[name] = self._waiting.pop(name)
        self._running[name].begin()

    def _joins(self, name: str, known: set[str], gone: str = "") -> None:
        """Start a scorer's work; return when it and the others share all partitions."""
        before = self._feeder.sent
        self._begins(name)

        def shared() -> bool:
            members = self._members()
            new = set().union(*(members[m] for m in members.keys() - known))
            every = set().union(*members.values())
            return bool(new) and len(every) == PARTITIONS and gone not in members

        self._until(shared, f"{name} has partitions")
        after = self._feeder.sent
        self._happened[f"{name}_joins"] = {
            "sent_meanwhile": after - before,
            "sent": after,
            "partitions": sorted(map(len, self._members().values())),
        }
        if not before < after < len(self._traffic.keys):
            self._faults.append(f"{name} joined, and no records were sent meanwhile")

    def _kill(self, name: str, topic: str, member: str = "") -> None:
        """Kill a process while one of its transactions is open.

        Args:
            name: Of the process.
            topic: Where its transactions are visible.
            member: Its id in the group, to know its partitions there; without it all are its own.
        """
        process = self._running.pop(name)
        owned = self._members()[member] if member else set(range(PARTITIONS))
        deadline = time.monotonic() + SECONDS
        while True:
            process.refuse_death()
            if self._arena.open_transactions(topic) & owned:
                process.freeze()
                # Requests that the coordinator was already handling are over a moment later.
                time.sleep(GLANCE_SECONDS)
                opened = self._arena.open_transactions(topic) & owned
                if opened:
                    break
                process.thaw()
            if time.monotonic() > deadline:
                raise SystemExit(f"{name}: no transaction was open when it was to be killed")
        process.kill()
        committed, sent = self._committed(), self._feeder.sent
        self._happened[f"{name}_killed"] = {
            "sent": sent,
            "committed": committed,
            "open_partitions": sorted(opened),
        }
        # A scorer leaves records behind; of those the profiler has not its own, all may be decided.
        most = sent - 1 if member else sent
        if not 0 <= committed <= most < len(self._traffic.keys):
            self._faults.append(f"{name} was killed with {committed} of {sent} sent committed")

    def _members(self) -> dict[str, set[int]]:
        return self._arena.members("killed")

    def _committed(self) -> int:
        return self._arena.committed("killed", self._entry.settings.kafka.topics.transactions)

    def _fed(self, share: float) -> None:
        count = int(share * len(self._traffic.keys))
        self._until(lambda: self._feeder.sent >= count, f"{count} sent")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        wait(holds, what, *self._running.values())
