"""Users' own records: whether they are decided as the same transactions in our schema, how fast.

Three foreign topics (``cards``: amounts as doubles, no terminal; ``envelopes``: changes of a
database table, decimal amounts in three currencies; ``flat``: JSON) are each read by a mapping, and
the same transactions in our schema without one. Every decision must have the same outcome, score,
features, flags and reasons: bit for bit.

- ``native``, ``mapped``: events per second of ``stream-scorer run`` with the shipped model, over
  our schema and over ``envelopes``; medians of interleaved rounds.
- ``ratio``: mapped to native.
- ``sets``: of each set its name, its number of transactions and of equal decisions.
"""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.harness import traffic
from bench.harness.arena import FULL, Arena
from bench.harness.foreign import SETS, ForeignSet, add_schemas
from bench.harness.gates import rate
from bench.harness.process import Contender
from bench.harness.script import Number, Script, missed, say, table
from tests.support.faults.reference_run import decision

LEAST_RATIO = 0.85
_FAST = "envelopes"
_SAME = ("transaction_id", "customer_id", "decision", "score", "features", "flags", "reasons")
_START_SECONDS = 60.0
_LEAST_RATE = 1_000


class Comparison:
    """Runs scorers over one topic after another.

    Args:
        arena: Where.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._plans = {each.name: each.plan(arena.directory) for each in SETS}
        self._runs = 0

    def start(self, source: str, plan: str = "") -> Contender:
        """Start a scorer over a topic, which then waits; ``plan`` names the set of the mapping."""
        self._runs += 1
        more = ("--plan", str(self._plans[plan])) if plan else ()
        entry = self._arena.entry(
            f"{source}-{self._runs}", source, "run", "--from", "earliest", "--model", FULL, *more
        )
        self._arena.create_outputs(entry)
        return self._arena.start(entry)

    def drain(self, scorer: Contender, records: int) -> list[Any]:
        """Run a scorer over a topic of so many records; return its decisions' messages."""
        scorer.wait_ready()
        scorer.go()
        self._arena.wait_committed(scorer, records, _START_SECONDS + records / _LEAST_RATE)
        scorer.ask_to_end()
        topics = scorer.entry.settings.kafka.topics
        found = list(self._arena.outputs(topics.decisions))
        letters = sum(1 for _ in self._arena.outputs(topics.dead_letters))
        scorer.stop()
        if letters:
            raise SystemExit(f"{scorer.entry.name}: {letters} dead letters, and none is due")
        return found


def compare(arena: Arena, made: Comparison, each: ForeignSet, rows: pa.Table) -> dict[str, Any]:
    """Decide a foreign topic and the same transactions in our schema; return their comparison."""
    theirs = _fed(arena, each.name, each.records(rows))
    ours = _fed(arena, f"{each.name}-ours", traffic.clean(_ours(each, rows), arena.registry))
    mapped = made.drain(made.start(each.name, each.name), theirs)
    native = made.drain(made.start(f"{each.name}-ours"), ours)
    say(f"{each.name}: {len(mapped)} and {len(native)} decisions")
    expected = _by_id(native)
    equal = sum(expected.get(name) == told for name, told in _by_id(mapped).items())
    return {"name": each.name, "events": len(rows), "equal": equal, "records": theirs}


def _ours(each: ForeignSet, rows: pa.Table) -> pa.Table:
    renamed = each.renamed(rows)
    if each.name != "cards":
        return renamed
    ids = [str(2_987_000 + number) for number in range(len(renamed))]
    at = renamed.schema.get_field_index("transaction_id")
    return renamed.set_column(at, renamed.schema.field(at), pa.array(ids, pa.string()))


def _fed(arena: Arena, topic: str, batches: Any) -> int:
    counted = 0

    def counting() -> Any:
        nonlocal counted
        for keys, payloads in batches:
            counted += len(payloads)
            yield keys, payloads

    arena.feed(topic, counting())
    return counted


def _by_id(messages: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for message in messages:
        told = decision(message.value())
        told["flags"] = [flag for flag in told["flags"] if flag != "late_decision"]
        found[told["transaction_id"]] = tuple(repr(told[name]) for name in _SAME)
    return found


def measure(sets: int, events: int, rounds: int) -> dict[str, Any]:
    """Compare the sets, then measure the rates; return the report."""
    with Arena() as arena:
        add_schemas(Path(arena.registry.directory))
        made = Comparison(arena)
        rows = traffic.transactions(sets)
        found = [compare(arena, made, each, rows) for each in SETS]
        many = traffic.transactions(events)
        fast = next(each for each in SETS if each.name == _FAST)
        records = _fed(arena, "fast", fast.records(many))
        _fed(arena, "fast-ours", traffic.clean(fast.renamed(many), arena.registry))
        rates: dict[str, list[float]] = {"native": [], "mapped": []}
        for number in range(rounds + 1):
            turns = [("native", "fast-ours", ""), ("mapped", "fast", _FAST)]
            for row, source, plan in turns if number % 2 else reversed(turns):
                count = records if plan else events
                messages = made.drain(made.start(source, plan), count)
                told = rate(np.array([message.timestamp()[1] for message in messages]))
                if number:  # the first round warms the broker
                    rates[row].append(told)
        medians = {row: round(statistics.median(each)) for row, each in rates.items()}
    return {
        **medians, "ratio": round(medians["mapped"] / medians["native"], 3), "sets": found,
        "events": events, "rounds": rounds,
    }  # fmt: skip


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each gate of a report that fails."""
    return missed(
        ("mapped to native is {:.3f}", document["ratio"], ">=", LEAST_RATIO),
        *(
            (f"{each['name']}: {{}} decisions are equal", each["equal"], "==", each["events"])
            for each in document["sets"]
        ),
    )


def main() -> int:
    script = Script(
        __doc__, "fewer events, one round",
        sets=Number(60_000, 5_000, "transactions of each set"),
        events=Number(600_000, 100_000, "transactions of each run that is timed"),
        pairs=Number(5, 1, "interleaved rounds"),
    )  # fmt: skip
    options = script.options
    document = measure(options.sets, options.events, options.pairs) | {"seconds": script.seconds}
    return script.conclude(
        document,
        failures(document),
        table(
            "Users' records", "set", "transactions", "records", "equal decisions",
            rows=((s["name"], s["events"], s["records"], s["equal"]) for s in document["sets"]),
        ),
        f"{document['mapped']:,} mapped and {document['native']:,} native events a second",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
