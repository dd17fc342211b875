"""Hostile schemas, records, buckets, bundles, requests: each is answered as documented.

Every case attacks one door (entry point) in a separate process; its expectation names the rule of
docs/SECURITY.md that it checks. ``--against PATH`` runs the same cases against another checkout.
``--mutants N`` removes checks from a copy of the package, one by one, and expects the cases to
notice. ``--load`` sends hostile records among good ones to a running scorer. A full run does all
three.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.harness.script import Script, missed, say, table
from bench.hostile_cases import all_cases, load
from bench.hostile_cases.case import Case
from bench.hostile_cases.data.replays import BOOTSTRAP
from bench.hostile_cases.mutants import mutate
from bench.hostile_cases.rules import RULES
from stream_scorer.devkafka import DevKafka

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "SECURITY.md"
RECORDED: Final = Path(__file__).parent / "hostile_cases" / "at_cc8b8a8.json"
"""What each case did before the doors were closed."""
LEAST_CASES, LEAST_FAILED_BEFORE, LEAST_EACH = 150, 40, 3
ITEMS: Final = range(1, 20)
_WIDTH: Final = 60
BROKER_DOORS: Final = frozenset({"headers", "replay", "reads"})
MUTANTS, LEAST_NOTICED_SHARE = 20, 0.95

Outcomes = Mapping[str, Mapping[str, Any]]


def run_cases(root: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run cases against a checkout; yield what each did.

    Args:
        root: Of the checkout.
        arguments: Of ``bench.hostile_cases.running``.
    """
    settings = [name for name in os.environ if name.startswith("STREAM_SCORER_")]
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(ROOT)])
    command = [sys.executable, "-m", "bench.hostile_cases.running", *arguments]
    with subprocess.Popen(  # noqa: S603 this interpreter
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 it was asked for
        for line in process.stdout:
            yield json.loads(line)
        if process.wait() != 0:
            raise SystemExit(f"the cases could not be run against {root}")


def sections(page: str) -> dict[str, str]:
    """Return a page's sections by heading, each as one line without code marks."""
    found = {}
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        found[heading.strip()] = " ".join(text.replace("`", "").split())
    return found


def undocumented(page: str, rules: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return one line for each rule that the page does not state."""
    found = sections(page)
    return [
        f"rule {name}: docs/SECURITY.md, section {heading!r}, does not say: {quote}"
        for name, (heading, quote) in rules.items()
        if " ".join(quote.replace("`", "").split()) not in found.get(heading, "")
    ]


def malformed(cases: Sequence[Case]) -> list[str]:
    """Return one line for each thing that is wrong with the set of cases itself."""
    names = Counter(c.name for c in cases)
    failed = [f"case {name!r} is there {n} times" for name, n in names.items() if n > 1]
    failed += [f"{c.name}: no rule {c.rule!r}" for c in cases if c.rule not in RULES]
    items, doors = Counter(c.item for c in cases), Counter(c.door for c in cases)
    failed += [f"item {n} has {items[n]} cases" for n in ITEMS if items[n] < LEAST_EACH]
    failed += [f"door {name} has {n} cases" for name, n in doors.items() if n < LEAST_EACH]
    return failed + missed(("{} cases", len(cases), ">=", LEAST_CASES))


def report(cases: Sequence[Case], outcomes: Outcomes, before: Outcomes) -> dict[str, Any]:
    """Return the report of one run over all cases."""
    kinds = Counter(each["kind"] for each in outcomes.values())
    there = [name for name in before if name in {case.name for case in cases}]
    return {
        "cases": len(cases),
        "as_documented": sum(each["expected"] for each in outcomes.values()),
        "crashed": kinds["crashed"],
        "escaped": kinds["escaped"],
        "stuck": kinds["stuck"],
        "memory": kinds["memory"],
        "slowest_ms": max((each["ms"] for each in outcomes.values()), default=0.0),
        "peak_mb": max((each["peak_mb"] for each in outcomes.values()), default=0.0),
        "failed_at_cc8b8a8": sum(failed_before(before[name]) for name in there),
    }


def failed_before(outcome: Mapping[str, Any]) -> bool:
    """Whether a case failed where its entry was there."""
    return not outcome["expected"] and outcome["kind"] != "not there"


def failures(document: Mapping[str, Any], cases: Sequence[Case], outcomes: Outcomes) -> list[str]:
    """Return one line for each case that was not answered as documented, and each missed gate."""
    failed = [
        f"{case.name}: {outcomes[case.name]['kind']}: {outcomes[case.name]['text']}"
        if case.name in outcomes else f"{case.name}: was not run"
        for case in cases
        if not outcomes.get(case.name, {}).get("expected")
    ]  # fmt: skip
    before = document["failed_at_cc8b8a8"]
    return failed + missed(("{} cases failed at cc8b8a8", before, ">=", LEAST_FAILED_BEFORE))


def tables(
    cases: Sequence[Case], outcomes: Outcomes, before: Outcomes, *, each: bool
) -> Iterator[Table]:
    """Yield the tables: with ``each`` what every case did before; the counts by door."""
    if each:
        rows = ((case.name, _told(before.get(case.name))[:_WIDTH]) for case in cases)
        yield table("What each case did", "case", "at cc8b8a8", rows=rows)
    by_door = {
        door: [case for case in cases if case.door == door]
        for door in dict.fromkeys(case.door for case in cases)
    }
    yield table(
        "Hostile cases", "door", "items", "cases", "as documented", "failed at cc8b8a8",
        rows=(
            (
                door, ", ".join(str(item) for item in sorted({case.item for case in mine})),
                len(mine),
                sum(bool(outcomes.get(case.name, {}).get("expected")) for case in mine),
                sum(failed_before(before[c.name]) for c in mine if c.name in before),
            )
            for door, mine in by_door.items()
        ),
    )  # fmt: skip


def _told(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "not recorded"
    if outcome["expected"]:
        return "as now"
    return f"{outcome['kind']}: {outcome['text']}" if outcome["text"] else str(outcome["kind"])


def recorded() -> dict[str, Any]:
    """Return what the cases did at cc8b8a8."""
    if not RECORDED.exists():
        return {"outcomes": {}}
    document: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return document


def record(outcomes: Outcomes) -> None:
    """Keep outcomes as those of cc8b8a8."""
    kept = {
        name: {key: each[key] for key in ("kind", "text", "expected")}
        for name, each in sorted(outcomes.items())
    }
    document = {"commit": "cc8b8a8", "date": time.strftime("%Y-%m-%d"), "outcomes": kept}
    RECORDED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@contextmanager
def broker(cases: Sequence[Case]) -> Iterator[None]:
    """Start the broker that some of the cases need; those find it by a variable."""
    if os.environ.get(BOOTSTRAP) or not any(case.door in BROKER_DOORS for case in cases):
        yield
        return
    with DevKafka(1, quick=True) as kafka:
        os.environ[BOOTSTRAP] = kafka.bootstrap
        try:
            yield
        finally:
            del os.environ[BOOTSTRAP]


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--against", type=Path, help="root of another checkout to attack")
    parser.add_argument("--record", action="store_true", help="keep the outcomes as cc8b8a8's")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--mutants", type=int, help="checks to take out, one at a time")
    parser.add_argument("--seed", type=int, default=1, help="draws the checks")
    parser.add_argument("--load", action="store_true", help="attack a running scorer, too")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")


def main() -> int:
    script = Script(__doc__, "the cases alone, in under a minute", more=_options)
    options, quick = script.options, script.quick
    cases = [case for case in all_cases() if options.only in case.name]
    root = (options.against or ROOT).resolve()
    given = ["--only", options.only, "--jobs", str(options.jobs)]
    given += ["--older"] * (options.against is not None)
    with broker(cases):
        outcomes = {each["name"]: each for each in run_cases(root, *given)}
    if options.record:
        record(outcomes)
    before = recorded()["outcomes"]
    document = report(cases, outcomes, before)
    failed = failures(document, cases, outcomes)
    if not options.only:
        failed += malformed(cases) + undocumented(PAGE.read_text(encoding="utf-8"), RULES)
    mutants = options.mutants if options.mutants is not None else 0 if quick else MUTANTS
    if mutants and options.against is None:
        with broker(all_cases()):
            document["mutants"] = mutate(ROOT, mutants, options.seed, run_cases, say)
        failed += unnoticed(document["mutants"])
    if options.load or not (quick or options.only or options.against):
        document["load"] = load.measure(say)
        failed += load.failures(document["load"])
    return script.conclude(document, failed, *tables(cases, outcomes, before, each=not quick))


def unnoticed(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each check whose absence was not noticed, if they are too many."""
    if document["noticed"] >= LEAST_NOTICED_SHARE * document["taken_out"]:
        return []
    return [f"not noticed when it was taken out: {check}" for check in document["missed"]]


if __name__ == "__main__":
    sys.exit(main())
