"""The parts of ``bench/http.py``, their options and their report.

The server runs on one core, in one process; the generator, a compiled program, on the other. All
contenders answer the same row with the same model, and take turns in interleaved rounds.

- ``v2``: ``stream-scorer serve --model`` and its echo, by REST. The echo is the same server with
  the same bodies, authentication and limits, but without scoring.
- ``grpc``: the same two by gRPC.
- ``peers``: MLServer 1.7.1 by REST and gRPC, and FastAPI with scikit-learn.
- ``v1``: answers of ``/v1/decisions``, and the age of the same records' decisions at a reader.
- ``overload_v1``, ``overload_v2``: who is refused, who is accepted, and the probes.

Requests a second come from a closed loop. Latency comes from an open loop and begins when a request
was due. Each run checks that by a server that stops for 100 ms each second.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.harness.script import Number, Script, table
from bench.http_steps import decisions, overload, scores, verdict

SCORES: Final = ("v2", "grpc", "peers")
PARTS: Final = (*SCORES, "v1", "overload_v1", "overload_v2")
QUICK_PARTS: Final = ("v2", "v1")
KEYS: Final = ("echo", "ours_rest", "ours_grpc", "mlserver", "fastapi", "v1", "overload")
"""Of each report; null where the part was not run."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="PART",
        help=f"run this part; can be given several times: {', '.join(PARTS)}",
    )  # fmt: skip


def main() -> int:
    """Measure, print, and judge."""
    script = Script(
        __doc__, f"one round, short loads, and only {', '.join(QUICK_PARTS)}", more=_options,
        rounds=Number(3, 1, "interleaved rounds"),
        seconds=Number(10.0, 1.5, "seconds of each load"),
    )  # fmt: skip
    options = script.options
    parts = tuple(options.only or (QUICK_PARTS if script.quick else PARTS))
    with tempfile.TemporaryDirectory("-bench") as folder:
        document = _measured(parts, options.rounds, options.seconds, Path(folder))
    document |= {"ratios": verdict.ratios(document), "parts": parts, "seconds": script.seconds}
    return script.conclude(document, verdict.failures(document, parts), *_shown(document))


def _measured(
    parts: tuple[str, ...], rounds: int, seconds: float, folder: Path
) -> dict[str, Any]:  # fmt: skip
    document: dict[str, Any] = dict.fromkeys(KEYS)
    if any(part in SCORES for part in parts):
        document["late_share"] = scores.stalls(seconds, _below(folder, "check"))
        document |= scores.measure(parts, rounds, seconds, _below(folder, "scores"))
    if "v1" in parts:
        document["v1"] = decisions.measure(rounds, seconds, _below(folder, "decisions"))
    found: dict[str, Any] = {}
    if "overload_v1" in parts:
        found["v1"] = overload.v1(seconds, _below(folder, "overload_v1"))
    if "overload_v2" in parts:
        found["v2"] = overload.v2(seconds, _below(folder, "overload_v2"))
    if found:
        # The figures of /v1 are those of the report's known keys.
        first = next(iter(found.values()))
        known = ("capacity", "accepted_p99_ratio", "refused_ms")
        document["overload"] = {**{name: first[name] for name in known}, **found}
    return document


def _below(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _shown(document: Mapping[str, Any]) -> list[Any]:
    shown: list[Any] = []
    columns = ("rps", "p50_ms", "p99_ms", "busy_p50_ms", "busy_p99_ms", "busy", "slip_p99_ms")
    keys = [case.key for case in scores.CASES if document.get(case.key)]
    if keys:
        shown.append(
            table(
                f"One row; p50 and p99 at {scores.LATENCY_RATE}/s and, busy, at "
                f"{scores.BUSY_RATE}/s, from the schedule",
                "contender", *columns,
                rows=((key, *(document[key][name] for name in columns)) for key in keys),
            )
        )  # fmt: skip
        shown.append(table("Ratios", "ratio", "value", rows=document["ratios"].items()))
    if document["v1"]:
        of_v1 = ("rate", "p50_ms", "stream_p50_ms", "p99_ms", "stream_p99_ms", "slip_p99_ms")
        rows = ([row[name] for name in of_v1] for row in document["v1"])
        shown.append(table("/v1: the answer, and the decision at a reader", *of_v1, rows=rows))
    for name, found in (document["overload"] or {}).items():
        if isinstance(found, Mapping):
            plain = ((key, value) for key, value in found.items() if not isinstance(value, dict))
            shown.append(table(f"Overload of /{name}", "what", "value", rows=plain))
    return shown
