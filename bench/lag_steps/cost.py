"""What metrics cost: CPU time per event with them and without, and the CPU time of the lag process.

``python -m bench.lag_steps.cost`` measures pairs of runs on one Kafka and one input topic, both of
the same scorer. With: its metrics, the clients' statistics at their default and the journal,
scraped every 5 s as in compose, and a running ``lag --serve`` with its defaults, scraped, too.
Without: events go to a listener that does nothing (``bench.lag_steps.unmetered``), and there are no
statistics, no journal, no scrape and no lag process. The order alternates from pair to pair.

``share_lower`` is the lower 95 % bound of the mean additional CPU time per event of the *scorer*;
the gate is on it, and on the number of ``pairs``. The lag process has no gate: one serves all
scorers of a cluster, on a machine that need not be theirs. ``lag_us`` is its CPU time per event of
the one scorer, whose every decision it reads for the reconciliation; ``lag_us_alone`` is that with
``reconcile_seconds = 0`` in every second pair.
"""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.drift_steps.cost import PAIRS_LEAST, cpu_seconds, lower_bound
from bench.harness import traffic
from bench.harness.arena import FULL, Arena
from bench.harness.process import Contender
from bench.harness.script import Number, Script, missed, table
from bench.lag_steps import unmetered

SHARE_MOST = 0.02
"""Maximum of the lower 95 % bound of the additional CPU time per event."""
_SCRAPE_SECONDS = 5.0
_START_SECONDS, _LEAST_RATE = 60.0, 2_000


@dataclass(frozen=True, slots=True)
class MetricsCost:
    """One run.

    Attributes:
        microseconds: CPU time per event of the scorer.
        rate: Events per second of the scorer.
        lag_microseconds: CPU time of the lag process per event of the scorer; 0 without one.
    """

    microseconds: float
    rate: float
    lag_microseconds: float = 0.0


class _Scraper:
    """Scrapes processes on a thread until stopped."""

    def __init__(self, processes: Sequence[Contender]) -> None:
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_SCRAPE_SECONDS):
            for each in self._processes:
                each.metric("ready")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def measure(arena: Arena, name: str, events: int, *, watched: bool, compared: bool) -> MetricsCost:
    """Run a scorer over the input topic.

    Args:
        arena: Has the topic ``clean``.
        name: Unique in the arena.
        events: Records of the topic.
        watched: Whether it has metrics, statistics and a journal, and is scraped and watched.
        compared: Whether the lag process compares input and outputs.
    """
    command = ["run"] if watched else ["module", unmetered.__name__]
    kafka = {} if watched else {"statistics_seconds": 0.0}
    logging = {"journal": str(arena.directory / f"{name}.journal")} if watched else {}
    entry = arena.entry(
        name, "clean", *command, "--from", "earliest", "--model", FULL,
        probed=True, kafka=kafka, logging=logging,
    )  # fmt: skip
    arena.create_outputs(entry)
    scorer = arena.start(entry)
    processes = [scorer]
    if watched:
        seconds = {} if compared else {"reconcile_seconds": 0.0}
        watching = arena.entry(
            f"{name}-lag", "clean", "lag", "--serve", outputs=name, probed=True,
            kafka={"group": name}, lag=seconds,
        )  # fmt: skip
        processes.append(arena.start(watching))
        processes[-1].begin()
    scorer.begin()
    group = entry.settings.kafka.group
    limit = _START_SECONDS + events / _LEAST_RATE
    arena.wait_committed(scorer, events // 5, limit)
    scraper = _Scraper(processes) if watched else None
    began, from_ = time.monotonic(), arena.committed(group, "clean")
    before = [cpu_seconds(each) for each in processes]
    arena.wait_committed(scorer, events, limit)
    counted, seconds_used = events - from_, time.monotonic() - began
    used = [cpu_seconds(each) - then for each, then in zip(processes, before, strict=True)]
    if scraper is not None:
        scraper.stop()
    for each in reversed(processes):
        each.stop()
    per_event = [each / counted * 1e6 for each in used]
    return MetricsCost(per_event[0], counted / seconds_used, sum(per_event[1:]))


def report(events: int, pairs: int) -> dict[str, Any]:
    """Return the shares and times; see the module.

    Args:
        events: Records of each run.
        pairs: Interleaved pairs, after one that does not count.
    """
    with Arena() as arena:
        arena.feed("clean", traffic.clean(traffic.transactions(events), arena.registry))
        found: dict[bool, list[MetricsCost]] = {True: [], False: []}
        for pair in range(pairs + 1):
            for watched in (bool(pair % 2), not pair % 2):
                name = f"{'watched' if watched else 'plain'}-{pair}"
                cost = measure(arena, name, events, watched=watched, compared=bool(pair % 2))
                if pair:
                    found[watched].append(cost)
    with_, without = found[True], found[False]
    shares = [a.microseconds / b.microseconds - 1 for a, b in zip(with_, without, strict=True)]
    ratios = [a.rate / b.rate for a, b in zip(with_, without, strict=True)]
    # Pair 0 does not count, so the first is pair 1, which compares.
    compared, alone = with_[::2], with_[1::2]
    return {
        "share_lower": round(lower_bound(shares), 4) if len(shares) > 1 else None,
        "share_mean": round(float(np.mean(shares)), 4),
        "with_us": _median([each.microseconds for each in with_]),
        "without_us": _median([each.microseconds for each in without]),
        "lag_us": _median([each.lag_microseconds for each in compared]),
        "lag_us_alone": _median([each.lag_microseconds for each in alone]),
        "throughput_ratio": _median(ratios),
        "pairs": len(shares),
    }


def gates(document: Mapping[str, Any]) -> list[str]:
    """Return the gates that fail; without a bound, one does."""
    share = document["share_lower"]
    return missed(
        ("{} is the lower bound of the share of CPU time", share, "<=", SHARE_MOST),
        ("{} pairs were measured", document["pairs"], ">=", PAIRS_LEAST),
    )


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None


def main() -> int:
    script = Script(
        __doc__, "one pair of fewer events, no bound",
        events=Number(3_000_000, 200_000, "records of each run"),
        pairs=Number(PAIRS_LEAST, 1, "interleaved pairs"),
    )  # fmt: skip
    document = report(script.options.events, script.options.pairs)
    return script.conclude(
        document, [] if script.quick else gates(document),
        table("CPU time of metrics", "what", "value", rows=document.items()),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
