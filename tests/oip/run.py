"""The suite as a command: a line for each case, the specification's line for each failure.

``python -m tests.oip http://127.0.0.1:8080 127.0.0.1:8081 --model fraud``
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.oip.described import described
from tests.oip.registry import NotApplicableError, NotConformingError, OipCase, OipFailure
from tests.oip.suite import all_cases, failure
from tests.oip.target import OipTarget

Result = OipFailure | NotApplicableError | None
"""A failure, why the case does not apply, or None if it passed."""


def results(target: OipTarget) -> list[tuple[OipCase, Result]]:
    """Run every case and return its result."""
    found: list[tuple[OipCase, Result]] = []
    for case in all_cases():
        try:
            found.append((case, failure(case, target)))
        except NotApplicableError as reason:
            found.append((case, reason))
    return found


def lines(case: OipCase, result: Result) -> list[str]:
    """Return what is printed about a case, at most 100 columns wide."""
    if isinstance(result, NotApplicableError):
        return [f"n/a   {case.name:34} {result}"]
    if result is None:
        return [f"ok    {case.name}"]
    text = f"{case.line.section}: {' '.join(case.line.text.split())} ({case.line.file})"
    quoted = textwrap.wrap(text, 92, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return [f"FAIL  {case.name:34} {result.reason}", *quoted]


def report(found: Sequence[tuple[OipCase, Result]]) -> dict[str, object]:
    """Return the last line: numbers by part, and the names of the failures."""
    parts: dict[str, dict[str, int]] = {}
    for case, result in found:
        part = parts.setdefault(
            f"{case.binding}_{case.part}", {"passed": 0, "failed": 0, "not_applicable": 0}
        )
        failed = "failed" if isinstance(result, OipFailure) else "not_applicable"
        part["passed" if result is None else failed] += 1
    failures = [case.name for case, result in found if isinstance(result, OipFailure)]
    return {"cases": len(found), "failed": len(failures), "parts": parts, "failures": failures}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask a server and print its results.

    Returns:
        0 if it passes, 1 if it fails a case, 2 if the model's metadata cannot be had.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.oip", description=__doc__)
    parser.add_argument("url", help="http://HOST:PORT of the REST binding")
    parser.add_argument("grpc", help="HOST:PORT of the gRPC binding, without TLS")
    parser.add_argument("--model", required=True, help="its input and outputs are asked for")
    parser.add_argument("--version", help="of the model; the first in its metadata by default")
    parser.add_argument("--headers", type=Path, help="file with 'name: value' lines to send along")
    given = parser.parse_args(arguments)
    sent = given.headers.read_text().splitlines() if given.headers else []
    pairs = (line.partition(":") for line in sent if line.strip())
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    try:
        target = described(
            given.url, given.grpc, given.model, version=given.version, headers=headers
        )
    except (OSError, NotConformingError) as error:
        sys.stderr.write(f"{given.url}: {error}\n")
        return 2
    found = results(target)
    printed = [line for case, result in found for line in lines(case, result)]
    summary = report(found)
    sys.stdout.write("\n".join(printed) + f"\n{json.dumps(summary)}\n")
    return 1 if summary["failed"] else 0
