"""Models on devices: do they decide as the stream does, bit for bit, how fast, and once each?

- ``equality``, ``speed``, ``toolchain``: see the modules of these names in bench/edge_steps.
- ``device``, ``return_path``, ``offline``: a device's state, its way back, and both together with
  kills and a cut network, with a Kafka each. They run in processes of their own, as
  ``python -m bench.edge_steps.offline``; ``lost`` and ``duplicates`` are of the last two.
- tl2cgen and m2cgen, only with ``--peers``: see bench/edge_steps/peers.py.

It needs gcc, clang, lld, wasi-libc, valgrind, Node and Chromium; ``python -m
tests.support.edge.programs`` installs them on Debian. With ``--quick`` there are fewer rows and
smaller models, and speed is not judged.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.edge_steps import equality, peers, speed, toolchain
from bench.edge_steps.models import BOOSTING, models
from bench.harness.script import Script, missed, say, table

ROOT = Path(__file__).parents[1]
APART = ("device", "return_path", "offline")
PARTS = ("equality", "speed", "toolchain", *APART)


Digests = Mapping[str, Mapping[str, str]]
"""The digest of all results, by model and target."""


def equality_failures(
    document: dict[str, Any], here: Digests, unfused: equality.Unfused, *, fuses: bool
) -> list[str]:
    """Return one line for each target whose results differ, here or without fused operations.

    Args:
        document: Of :func:`bench.edge_steps.equality.compare`.
        here: The digests of this process.
        unfused: What a process on another C library found.
        fuses: Whether this machine has fused operations, so that the libraries are different ones.
    """
    rows = document["rows"]
    failed = missed(*(
        (f"{target}: {{}} rows are equal", count, "==", rows)
        for target, count in document["equal"].items()
    ))  # fmt: skip
    for name, digests in here.items():
        failed += [
            f"{name}: {target} has other results without fused operations in the C library"
            for target, digest in digests.items()
            if unfused.digests[name][target] != digest
        ]
    if fuses:
        differs = unfused.library_differs
        failed += missed(("{} scores of the other C library are its own", differs, ">=", 1))
    return failed


def apart(name: str, *, quick: bool) -> tuple[dict[str, Any], list[str]]:
    """Run a part in a process of its own; return its report, and one line for each missed gate.

    A part that ends without a report misses one gate, and the other parts are reported.
    """
    command = [sys.executable, "-m", f"bench.edge_steps.{name}", *(["--quick"] * quick)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 our own program
    last = (done.stdout.splitlines() or [""])[-1]
    if done.returncode not in (0, 1) or not last.startswith("{"):
        code = done.returncode
        return {"ended_with": code}, [f"{name}: ended with code {code} and without a report"]
    document: dict[str, Any] = json.loads(last)
    return document, [f"{name}: {line}" for line in document.pop("missed")]


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of the parts that a reader looks for first; None for what did not run."""
    timed, built = document.get("speed", {}), document.get("toolchain", {})
    parts = [document.get(name, {}) for name in ("return_path", "offline")]
    back = [each for each in parts if "lost" in each]
    return {
        "ns_per_score": timed.get("ns_per_score"),
        "max_to_median": timed.get("max_to_median"),
        "code_bytes": built.get("code_bytes"),
        "table_bytes": built.get("table_bytes"),
        "lost": sum(each["lost"] for each in back) if back else None,
        "duplicates": sum(each["duplicates"] for each in back) if back else None,
    }


def tables(document: dict[str, Any]) -> Iterator[Table | str]:
    """Yield what a person reads of a report."""
    if "equal" in document:
        yield table(
            "Rows with the same bits as in the stream", "target", "rows", "equal",
            rows=((name, document["rows"], count) for name, count in document["equal"].items()),
        )  # fmt: skip
        yield f"scores of the other C library that differ: {document['library_differs']:,}"
    if "speed" in document:
        times = document["speed"]["ns_per_score"]
        yield table("Nanoseconds of a single row", *times, rows=[times.values()])
        yield "row alone: {}; largest / median {}".format(
            document["speed"]["alone_ns"], document["speed"]["max_to_median"]
        )
    if "toolchain" in document:
        yield table("Toolchain", "what", "found", rows=document["toolchain"].items())
    for name, found in document.get("peers", {}).items():
        yield table(name, "model", "found", rows=found.items())
    for name in APART:
        if name in document:
            yield table(name, "what", "found", rows=document[name].items())


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--peers", action="store_true", help="tl2cgen and m2cgen, too: minutes")


def _kernels(chosen: Collection[str], *, quick: bool) -> tuple[dict[str, Any], list[str]]:
    """Run the parts of the kernels; return their report, and one line for each missed gate."""
    document: dict[str, Any] = {}
    failed: list[str] = []
    wanted = models(quick=quick)
    cases = dict(wanted if "equality" in chosen else itertools.islice(wanted, 1))
    say(f"models are fitted: {', '.join(cases)}")
    if "equality" in chosen:
        document |= equality.compare(cases, quick=quick)
        digests = document.pop("digests")
        unfused = equality.without_fused(cases, quick=quick)
        document["library_differs"] = unfused.library_differs
        failed += equality_failures(document, digests, unfused, fuses=equality.fuses())
    if "speed" in chosen:
        document["speed"] = speed.measure_speed(cases[BOOSTING], quick=quick)
        failed += [] if quick else speed.failures(document["speed"])
    if "toolchain" in chosen:
        document["toolchain"] = toolchain.measure_toolchain(quick=quick)
        failed += toolchain.failures(document["toolchain"])
    return document, failed


def main() -> int:
    script = Script(__doc__, "fewer rows, smaller models; speed is not judged", more=_options)
    quick, parts = script.quick, script.options.only or PARTS
    document: dict[str, Any] = {}
    failed: list[str] = []
    if set(parts) - set(APART):
        document, failed = _kernels(parts, quick=quick)
    if script.options.peers:
        document["peers"] = peers.measure_peers(quick=quick)
    for name in APART:
        if name in parts:
            say(f"{name} begins")
            document[name], lines = apart(name, quick=quick)
            failed += lines
    document |= summary(document)
    document |= {"load": script.loads(), "seconds": script.seconds}
    return script.conclude(document, failed, *tables(document))


if __name__ == "__main__":
    sys.exit(main())
