"""The same transactions on three ways: is every decision the same, bit for bit?

- ``core``: one call of ``core.scorer.score`` over all rows in their order, in memory; it lets no
  customer's history go.
- ``stream``: ``stream-scorer run`` on an input of one partition.
- ``stream_killed``: ``stream-scorer run`` on an input of four partitions, with checkpoints. While
  records flow a second instance joins, the first is killed with -9 in an open transaction, and
  comes back under its name.

The input (``bench/parity_input.py``) has events out of order, late within and beyond the bound,
duplicates, customers who return after their history has left, and a jump of all clocks. Compared
are features and score as bits, decision, flags except ``late_decision``, and reject reasons, by
source coordinates. A rejected transaction counts as equal when every way rejects it alike. Each
way must give each record one decision or one dead letter.

One kind of event stands beside the count: a very late one of a customer whose whole history has
left (``after_eviction``). The core remembers what the streams have let go; see docs/FEATURES.md.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.arena import Arena
from bench.parity_input import build
from bench.parity_outcomes import Outcomes, differences, report
from bench.parity_streams import MODEL, Killed, Traffic, encoded, one_partition
from stream_scorer.apps.scorer import Deployment, load_model, open_codecs
from stream_scorer.codec.schemas import open_registry
from stream_scorer.core.batch import Flag
from stream_scorer.core.scorer import Rings, score
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import Settings

EVENTS, QUICK_EVENTS = 200_000, 30_000
RATE, QUICK_RATE = 5_000, 2_500
_EXAMPLES = 5


def in_memory(traffic: Traffic, settings: Settings) -> tuple[Outcomes, int]:
    """Score all rows with one call of the core; count the events that its rings have let go."""
    model, plan = load_model(settings, Deployment(MODEL))
    decoder = open_codecs(settings, plan, open_registry(settings.registry)).transactions
    n = len(traffic.keys)
    raw = RawRecords(
        BytesColumn.of(traffic.payloads), BytesColumn.of(traffic.keys), None,
        np.zeros(n, np.int32), np.arange(n), np.full(n, time.time_ns() // 1_000_000),
    )  # fmt: skip
    events, rows, _ = decoder.decode(raw)
    if len(rows) != n:
        raise SystemExit(f"{n - len(rows)} of our own payloads do not decode")
    rings = Rings(model.features)
    outcomes = Outcomes.of(score(events, rings, plan, model), n)
    added = int(((outcomes.decision >= 0) & (outcomes.flags & Flag.LATE == 0)).sum())
    return outcomes, added - sum(len(ring[1]) for ring in rings.of(0).events())


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    events = document["events"]
    found = [
        f"{document[name]} of {events} {what} are equal"
        for name, what in (("features_equal", "features"), ("scores_equal", "scores"))
        if document[name] != events
    ]
    needed = {
        "late": document["late"],
        "out of order": document["out_of_order"],
        "evicted": document["events_evicted"],
        "DUPLICATE": document["rejected"].get("DUPLICATE", 0),
    }
    found += [f"no event was {name}" for name, count in needed.items() if not count]
    for way in document["ways"]:
        found += [
            f"{way['way']}: {way[name]} {name}" for name in ("missing", "duplicates") if way[name]
        ]
        found += [
            f"{way['way']}: {count} rows differ in {aspect}"
            for aspect, count in way["unlike"].items()
            if count
        ]
    return found


def measure(events: int, rate: float, console: Console) -> tuple[dict[str, Any], list[str]]:
    """Run all ways; return the report and what is wrong beside it."""
    rows = build(events)
    with Arena(quick=True) as arena:
        traffic = encoded(rows, arena.settings)
        core, evicted = in_memory(traffic, arena.settings)
        width = core.features.shape[1]
        killed = Killed(arena, traffic, rate)
        runs = {
            "stream": one_partition(arena, traffic, width),
            "stream_killed": killed.run(width),
        }
    ways = {"core": core} | {name: run.outcomes for name, run in runs.items()}
    document = report(core, ways, rows.compared)
    kinds, counts = np.unique(rows.kind, return_counts=True)
    document["kinds"] = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    document["out_of_order"] = rows.out_of_order()
    document["events_evicted"] = evicted
    names = [f"row {n} {kind}" for n, kind in enumerate(rows.kind.tolist())]
    for way in document["ways"][1:]:
        run = runs[way["way"]]
        way.update(run.happened)
        for asked in (rows.compared, ~rows.compared):
            for line in differences(core, run.outcomes, names, asked, _EXAMPLES):
                console.print(f"{way['way']}: {line}", highlight=False, soft_wrap=True)
    return document, [f"{name}: {fault}" for name, run in runs.items() for fault in run.faults]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="30,000 events")
    quick = parser.parse_args().quick
    console = Console(width=120)
    document, faults = measure(
        QUICK_EVENTS if quick else EVENTS, QUICK_RATE if quick else RATE, console
    )
    table = Table("way", "missing", "duplicates", *document["ways"][0]["unlike"], title="Unlike")
    for way in document["ways"]:
        row = (way["way"], way["missing"], way["duplicates"], *way["unlike"].values())
        table.add_row(*map(str, row))
    console.print(table)
    faults += failures(document)
    for fault in faults:
        console.print(f"FAILED: {fault}", style="red")
    sys.stdout.flush()
    print(json.dumps(document))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
