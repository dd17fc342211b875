"""``make test-faults``: every kind of fault, a proof that each of them happened, and one verdict.

``python -m tests.faults.suite [--seeds N | --seed S] [--only KIND] [--alerts] [--reports DIR]
[--merge]`` prints one line per kind and, as the last line, a JSON object. The exit code is 1 if
anything failed. Without ``--only``, or with ``--only proof``, it also shows that the verifier can
fail.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.suite import kinds as registered
from tests.faults.suite.proof import prove
from tests.faults.suite.registry import KINDS, Kind
from tests.faults.suite.report import Proof, Result, merged, read_proof, read_results, table
from tests.faults.suite.running import run_all

__all__ = ["registered"]

_PROOF = "proof"


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="test-faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="run with seeds 1 to N")
    parser.add_argument("--seed", type=int, help="run with this seed alone")
    parser.add_argument(
        "--only",
        action="append",
        metavar="KIND",
        help="this kind or family alone, or `proof`; repeatable",
    )
    parser.add_argument(
        "--alerts", action="store_true", help="also judge the alerts that fire; needs Prometheus"
    )
    parser.add_argument("--reports", type=Path, help="keep each result as a file here")
    parser.add_argument(
        "--merge", action="store_true", help="run nothing; merge the results in --reports"
    )
    parser.add_argument("--table", action="store_true", help="also print the results as Markdown")
    parser.add_argument("--list", action="store_true", help="print the kinds and leave")
    arguments = parser.parse_args(given)
    if arguments.merge and arguments.reports is None:
        parser.error("--merge merges what lies in --reports DIR: name it")
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: give at least 1")
    known = {*KINDS, *(kind.family for kind in KINDS.values()), _PROOF}
    if unknown := set(arguments.only or ()) - known:
        parser.error(f"--only {', '.join(sorted(unknown))}: no such kind; --list prints them")
    return arguments


def _chosen(only: Sequence[str] | None) -> list[Kind]:
    return [k for k in KINDS.values() if not only or k.name in only or k.family in only]


def _say(result: Result) -> None:
    shown = f"{'; '.join(result.proofs)}{_alerts(result)}"
    state = "survived" if result.survived else "FAILED"
    print(  # noqa: T201 a report prints
        f"{result.seed} {result.kind}: {state} in {result.seconds:.0f} s, resumed in "
        f"{result.resume_seconds:.1f} s; {shown} {result.error}",
        flush=True,
    )


def _alerts(result: Result) -> str:
    if not result.alerts:
        return ""
    pages, tickets = (", ".join(result.alerts[name]) or "none" for name in ("pages", "tickets"))
    late, outcomes = result.alerts["late"], result.alerts["outcomes"]
    return f"; pages: {pages}; tickets: {tickets}; late: {late} of {outcomes}"


def _missing(results: Sequence[Result], seeds: Sequence[int], proof: Proof | None) -> list[str]:
    """Return what is missing for a complete report; a run that crashed leaves no file."""
    there = {(result.seed, result.kind) for result in results}
    lacking = [f"{seed}-{name}" for seed in seeds for name in KINDS if (seed, name) not in there]
    return lacking + ([] if proof else [_PROOF])


def main(given: Sequence[str]) -> int:
    """Run the suite; return the exit code."""
    arguments = _arguments(given)
    if arguments.list:
        for kind in KINDS.values():
            print(f"{kind.family:8} {kind.cluster:5} {kind.name}: {kind.tells}")  # noqa: T201
        return 0
    seeds = [arguments.seed] if arguments.seed else list(range(1, arguments.seeds + 1))
    proof: Proof | None = None
    if arguments.merge:
        results, proof = read_results(arguments.reports), read_proof(arguments.reports)
    else:

        def told(result: Result) -> None:
            _say(result)
            if arguments.reports is not None:
                result.write(arguments.reports)

        results = list(run_all(_chosen(arguments.only), seeds, told, alerts=arguments.alerts))
        if not arguments.only or _PROOF in arguments.only:
            proof = prove(seeds[0])
            if arguments.reports is not None:
                proof.write(arguments.reports)
    if arguments.table:
        order = list(KINDS)
        results.sort(key=lambda result: (order.index(result.kind), result.seed))
        print(table(results, {name: kind.tells for name, kind in KINDS.items()}))  # noqa: T201 the same
    report = merged(results, proof)
    if not arguments.only:
        report["missing"] = _missing(results, seeds, proof)
    print(json.dumps(report))  # noqa: T201 the report itself
    held = report["kinds"] == report["survived"] == report["fired"] and not report.get("missing")
    return 0 if held and (proof is None or proof.holds) and (results or proof) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
