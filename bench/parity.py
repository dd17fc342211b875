"""The same transactions and labels in four ways: is every decision the same, bit for bit?

- ``core``: one call of ``core.decision.decide_batch`` over all rows in their order, in memory, with
  the terminal profile rows that ``bench/parity_steps/labels.py`` makes by the rule alone; it evicts
  nothing.
- ``batch``: ``stream-scorer batch`` on a file of the rows, with a file of the labels.
- ``stream``: ``stream-scorer run`` and ``profile`` on an input of one partition.
- ``stream_killed``: both on an input of four partitions, with checkpoints. While records flow a
  second scorer joins; the first one and the profiler are killed with -9, each in an open
  transaction; and both come back.

The input (``bench/parity_steps/input.py``) has events out of order, late within and beyond the
bound, duplicates, customers who return after their history was evicted, and a jump of all clocks.
Some labels come too late: the profiler must count them, and they must not change a feature.
Compared are features and score as bits, decision, flags except ``late_decision``, and reject
reasons, by source coordinates. A rejected transaction counts as equal if every way rejects it
alike. Each way must give each record one decision or one dead letter. The plan lets a batch wait
for terminal profile rows without limit, so that no decision may be degraded.

Counted separately:

- An event past the lateness may look for terminal profile rows that were removed, and sees the
  rest. What does not depend on them must be equal (``late_rows_equal``). A file cannot contain such
  an event, so ``batch`` is compared for all events but those at the few terminals with late ones.
- A very late event of a customer whose complete history was evicted (``after_eviction``). The core
  remembers what the streams have evicted; see docs/FEATURES.md.

The report's key ``policy`` has ``core``, ``batch`` and ``stream`` once more, under a label policy
and with a model of the second feature engine; see ``bench/parity_steps/policy.py``.

The report's key ``served`` has further ways: 50,000 transactions by ``/v1`` and ``/v2`` of
``stream-scorer serve``; see ``bench/parity_steps/served.py``. ``--only-served`` runs only these.
"""

import argparse
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.harness.arena import FULL, Arena
from bench.harness.script import Number, Script, missed, table
from bench.parity_steps.batch import Batch
from bench.parity_steps.input import build
from bench.parity_steps.killed import Killed
from bench.parity_steps.labels import label, settled
from bench.parity_steps.outcomes import Outcomes, Way, differences, report
from bench.parity_steps.policy import PolicyWays, policy_failures
from bench.parity_steps.served import ServedWays, served_failures
from bench.parity_steps.streams import MODEL, Run, Traffic, Undisturbed, encoded
from stream_scorer.codec.reading.mapped import open_decoder
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.models.stores.deployment import Deployment, load_model, load_plan
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import MODELS_DIRECTORY, Settings

_EXAMPLES = 5
_WAIT_MS = 120_000
_BY_TERMINAL = "TERMINAL_ID_"


def in_memory(
    traffic: Traffic, settings: Settings, deployment: Deployment, *, terminals: bool = True,
    blocked: NDArray[np.bool_] | None = None,
) -> tuple[Outcomes, int]:  # fmt: skip
    """Score all rows with one call of the core; count the events that its rings have evicted.

    Args:
        traffic: The rows.
        settings: Registry and store.
        deployment: Model and plan.
        terminals: Whether the model has terminal features.
        blocked: As for ``bench.parity_steps.labels.settled``.
    """
    model, plan = load_model(settings, deployment)
    decoder = open_decoder(open_registry(settings.registry), plan)
    n = len(traffic.keys)
    raw = RawRecords(
        BytesColumn.of(traffic.payloads), BytesColumn.of(traffic.keys), None,
        np.zeros(n, np.int32), np.arange(n), np.full(n, time.time_ns() // 1_000_000),
    )  # fmt: skip
    events, rows, _ = decoder.decode(raw)
    if len(rows) != n:
        raise SystemExit(f"{n - len(rows)} of our own payloads do not decode")
    rings = PartitionRings(model.features)
    table = settled(traffic.rows, traffic.labels, plan, blocked) if terminals else None
    outcomes = Outcomes.of(decide_alone(events, rings, model, plan, terminals=table), n)
    added = int(((outcomes.decision >= 0) & (outcomes.flags & Flag.LATE == 0)).sum())
    return outcomes, added - sum(len(ring[1]) for ring in rings.of(0).events())


def waiting_plan(directory: Path) -> Path:
    """Write the shipped plan with a wait for terminals' rows that outlasts a killed profiler."""
    text = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text()
    changed, count = re.subn(r"(?m)^terminal_wait_ms = \S+", f"terminal_wait_ms = {_WAIT_MS}", text)
    if count != 1:
        raise SystemExit("the shipped plan does not name terminal_wait_ms")
    path = directory / "plan.toml"
    path.write_text(changed)
    return path


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    events, late = document["events"], document["late_rows"]
    needed = {
        "late": document["late"],
        "out of order": document["out_of_order"],
        "evicted": document["events_evicted"],
        "DUPLICATE": document["rejected"].get("DUPLICATE", 0),
    }
    counts = [
        (f"{way['way']}: {{}} {what}", count)
        for way in document["ways"]
        for what, count in (
            ("missing", way["missing"]),
            ("duplicates", way["duplicates"]),
            *((f"rows differ in {aspect}", unlike) for aspect, unlike in way["unlike"].items()),
        )
    ]
    return [
        *missed(
            ("{} features are equal", document["features_equal"], "==", events),
            ("{} scores are equal", document["scores_equal"], "==", events),
            ("{} late rows are equal", document["late_rows_equal"], "==", late),
            *((line, count, "==", 0) for line, count in counts),
        ),
        *(f"no event was {name}" for name, count in needed.items() if not count),
    ]


def measure(events: int, rate: float) -> tuple[dict[str, Any], list[str], list[str]]:
    """Run all ways; return the report, examples of differences, and further faults."""
    rows = build(events)
    with Arena(quick=True) as arena, ThreadPoolExecutor(1) as other:
        plan = waiting_plan(arena.directory)
        labels = label(rows, load_plan(plan))
        traffic = encoded(rows, labels, arena.settings)
        killed = Killed(arena, traffic, plan, rate)
        batch = Batch(arena, rows, labels, MODEL, plan)
        undisturbed = Undisturbed(arena, traffic, plan)
        model, _ = load_model(arena.settings, Deployment(MODEL, plan))
        width = len(model.features.names)
        # The disturbed one has a pace and waits for this and that: the others run meanwhile.
        beside = other.submit(lambda: (batch.run(width), undisturbed.run(width)))
        disturbed = killed.run(width)
        of_files, alone = beside.result()
        core, evicted = in_memory(traffic, arena.settings, Deployment(MODEL, plan))
    every = np.ones(len(rows), np.bool_)
    runs = {"batch": Run(of_files), "stream": alone, "stream_killed": disturbed}
    ways = {"core": Way(core, every, rows.compared)}
    ways |= {name: Way(run.outcomes, every, rows.compared) for name, run in runs.items()}
    ways["batch"] = Way(of_files, rows.compared, rows.shared)
    by_terminal = np.array([name.startswith(_BY_TERMINAL) for name in model.features.names])
    document = report(core, ways, rows.compared, rows.late, by_terminal)
    kinds, counts = np.unique(rows.kind, return_counts=True)
    document["kinds"] = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    document["out_of_order"] = rows.out_of_order()
    document["events_evicted"] = evicted
    document["labels"] = {"sent": len(labels), "too_late": labels.too_late}
    examples: list[str] = []
    names = [f"row {n} {kind}" for n, kind in enumerate(rows.kind.tolist())]
    for way in document["ways"][1:]:
        run = runs[way["way"]]
        way.update(run.happened)
        asked = ways[way["way"]].asked
        found = differences(core, run.outcomes, names, asked, _EXAMPLES)
        examples += [f"{way['way']}: {line}" for line in found]
    faults = [f"{name}: {fault}" for name, run in runs.items() for fault in run.faults]
    return document, examples, faults


def measure_policy(events: int) -> dict[str, Any]:
    """Run the ways of ``bench/parity_steps/policy.py``; return their report."""
    with Arena(quick=True) as arena:
        ways = PolicyWays(arena, events, waiting_plan(arena.directory))
        streamed = ways.streamed()

        def core(*, known: bool) -> Outcomes:
            blocked = streamed.decision == Outcome.BLOCK
            return in_memory(
                ways.traffic, ways.settings, ways.deployment, blocked=blocked if known else None
            )[0]

        return ways.report(streamed, core(known=True), core(known=False))


def measure_served(events: int) -> dict[str, Any]:
    """Run the ways of ``bench/parity_steps/served.py``; return their report."""
    with Arena(quick=True) as arena:
        served = ServedWays(arena, events)
        core, _ = in_memory(served.traffic, arena.settings, Deployment(FULL), terminals=False)
        return served.run(core)


def _unlike(title: str, document: dict[str, Any]) -> Table:
    return table(
        title, "way", "missing", "duplicates", *document["ways"][0]["unlike"],
        rows=(
            (way["way"], way["missing"], way["duplicates"], *way["unlike"].values())
            for way in document["ways"]
        ),
    )  # fmt: skip


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only-served", action="store_true", help="only the ways of the API")


def main() -> int:
    script = Script(
        __doc__, "30,000 events, 5,000 of them by the API", more=_options,
        events=Number(200_000, 30_000), rate=Number(5_000, 2_500), served=Number(50_000, 5_000),
        policy=Number(60_000, 30_000, "events under a label policy"),
    )  # fmt: skip
    shown: list[Table | str] = []
    failed: list[str] = []
    document: dict[str, Any] = {}
    if not script.options.only_served:
        document, examples, faults = measure(script.options.events, script.options.rate)
        failed += [*faults, *failures(document)]
        shown += [*examples, _unlike("Unlike", document)]
        policy = document["policy"] = measure_policy(script.options.policy)
        failed += policy_failures(policy)
        shown.append(_unlike("Unlike, under a label policy", policy))
    served = document["served"] = measure_served(script.options.served)
    failed += served_failures(served)
    shown.append(_unlike("Unlike, by the API", served))
    return script.conclude(document, failed, *shown)


if __name__ == "__main__":
    sys.exit(main())
