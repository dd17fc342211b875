"""Models on devices: do C, WebAssembly and numpy decide as the stream does, bit for bit, how fast?

- Equality: see bench/edge_steps/equality.py.
- Speed: see bench/edge_steps/speed.py.
- Toolchain: see bench/edge_steps/toolchain.py.
- Peers, only with ``--peers``: see bench/edge_steps/peers.py.

It needs gcc, clang, lld, wasi-libc, valgrind and Node; ``python -m tests.support.edge.programs``
installs them on Debian. With ``--quick`` there are fewer rows and a smaller model, and speed is not
judged.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from bench.edge_steps import equality, peers, speed, toolchain
from bench.edge_steps.models import BOOSTING, models
from bench.harness.script import Script, missed, say, table

PARTS = ("equality", "speed", "toolchain")


Digests = dict[str, dict[str, str]]
"""The digest of all results, by model and target."""


def equality_failures(document: dict[str, Any], here: Digests, without_fused: Digests) -> list[str]:
    """Return one line for each target whose results differ, here or without fused operations.

    Args:
        document: Of :func:`bench.edge_steps.equality.compare`.
        here: The digests of this process.
        without_fused: Those of a process on another C library.
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
            if without_fused[name][target] != digest
        ]
    return failed


def tables(document: dict[str, Any]) -> Iterator[Table | str]:
    """Yield what a person reads of a report."""
    if "equal" in document:
        yield table(
            "Rows with the same bits as in the stream", "target", "rows", "equal",
            rows=((name, document["rows"], count) for name, count in document["equal"].items()),
        )  # fmt: skip
    if "speed" in document:
        times = document["speed"]["ns_per_score"]
        yield table("Nanoseconds of a single row", *times, rows=[times.values()])
        yield "row alone: {}; largest / median {}".format(
            document["speed"]["alone_ns"], document["speed"]["max_to_median"]
        )
    if "toolchain" in document:
        yield table("Toolchain", "what", "found", rows=document["toolchain"].items())
    if "tl2cgen" in document:
        yield table("tl2cgen", "model", "found", rows=document["tl2cgen"].items())


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--peers", action="store_true", help="tl2cgen, too, which takes minutes")


def main() -> int:
    script = Script(__doc__, "fewer rows, a smaller model; speed is not judged", more=_options)
    quick, parts = script.quick, script.options.only or PARTS
    document: dict[str, Any] = {}
    failed: list[str] = []
    wanted = models(quick=quick)
    cases = dict(wanted if "equality" in parts else itertools.islice(wanted, 1))
    say(f"models are fitted: {', '.join(cases)}")
    case = cases[BOOSTING]
    if "equality" in parts:
        document |= equality.compare(cases, quick=quick)
        digests = document.pop("digests")
        failed += equality_failures(document, digests, equality.without_fused(cases, quick=quick))
    if {"speed", "toolchain"} & set(parts):
        if "speed" in parts:
            document["speed"] = speed.measure_speed(case, quick=quick)
            failed += [] if quick else speed.failures(document["speed"])
        if "toolchain" in parts:
            document["toolchain"] = toolchain.measure_toolchain(case, quick=quick)
            failed += toolchain.failures(document["toolchain"])
    if script.options.peers:
        document["tl2cgen"] = peers.measure_peers(quick=quick)
    flat = {
        "ns_per_score": document.get("speed", {}).get("ns_per_score"),
        "max_to_median": document.get("speed", {}).get("max_to_median"),
        "code_bytes": document.get("toolchain", {}).get("code_bytes"),
        "table_bytes": document.get("toolchain", {}).get("table_bytes"),
    }
    return script.conclude(document | flat | {"seconds": script.seconds}, failed, *tables(document))


if __name__ == "__main__":
    sys.exit(main())
