"""Removes checks of the API from a copy of the package: a hostile request must notice each.

``python -m bench.hostile_cases.gateway`` removes 20 checks, one at a time. For each it starts
``stream-scorer serve`` from the copy, without Kafka, and sends the hostile requests of the kinds
that this file is about, up to the first one that is not answered as documented.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench.harness.script import Number, Script, say, table
from bench.hostile_cases.mutants import Check, checks, copied, drawn, remove_each

ROOT: Final = Path(__file__).parents[2]
REMOVALS: Final = 20
_SECONDS: Final = 300.0
FILES: Final[Mapping[str, str]] = {
    "serving/web/paths.py": "path",
    "serving/web/body.py": "body",
    "serving/web/head_fields.py": "field,body",
    "serving/access/gate.py": "key,client,certificate,page,rate",
    "security/tokens.py": "token",
    "serving/server/application.py": "scope",
    "serving/inference/json_requests.py": "json,binary",
    "serving/inference/binary_data.py": "binary",
    "serving/inference/feature_tensors.py": "json",
    "serving/inference/data_types.py": "json,binary",
    "serving/inference/results.py": "json",
    "serving/inference/service.py": "path",
}
"""Files of the package, each with the kinds of requests that are sent without one of its checks."""
_GRPC: Final = "of gRPC, whose hostile calls are in test_hostile_calls.py"
_PROXY: Final = "of requests behind a proxy, which are in test_behind_nginx.py"
_OPEN: Final = "of a development server, which has no clients; see test_gate.py"
OTHERS: Final[Mapping[str, str]] = {
    'serving/web/paths.py: path[:1] != "/"': "the HTTP library hands over no other path",
    "serving/access/gate.py: self._subject_header in headers or self._verified_header in headers":
        _GRPC,
    "serving/access/gate.py: name == _AUTHORIZATION and (name in headers or not isinstance(value, "
    "str))": _GRPC,
    "serving/access/gate.py: not any(caller.may(each) for each in (scope, *others))": _GRPC,
    "serving/access/gate.py: name is None": _PROXY,
    "serving/access/gate.py: verified != _VERIFIED or not is_subject(subject)": _PROXY,
    "serving/access/gate.py: not is_loopback(peer)": _OPEN,
    "serving/access/gate.py: host is not None and not names_loopback(host)": _OPEN,
    "serving/access/gate.py: self._tokens is None": "of a server without an issuer",
    "serving/access/gate.py: past is not None": "of a batch of decisions, which needs Kafka",
    "serving/access/gate.py: found is None":
        "past the limit of failures, which is high here; see test_gate.py",
    "serving/access/gate.py: found.problem is not None":
        "while the issuer's keys are read, which they are not here; see test_gate.py",
    "serving/server/application.py: not opened.overdue": "passes a cancellation on",
    "serving/inference/service.py: not self.open": "before the service is ready: no server listens",
    "serving/inference/service.py: self.in_flight >= self._most":
        "of many requests at the same time; bench/http.py has them",
    "serving/inference/service.py: not self._by_name": "of the operator's own models",
    "serving/inference/service.py: model.version in versions": "of the operator's own models",
}  # fmt: skip
"""Single checks that are not drawn, by file and condition, with the reason of each."""


def gateway_checks(package: Path) -> list[Check]:
    """Return the checks of a package that can be drawn."""
    return [each for each in checks(package, tuple(FILES)) if each.name not in OTHERS]


def run_requests(root: Path, kinds: str) -> dict[str, Any]:
    """Send hostile requests to the API of a checkout; return what came of them.

    Args:
        root: Of the checkout.
        kinds: First words of their causes, with commas.

    Raises:
        SystemExit: They could not be sent.
    """
    own = {name: v for name, v in os.environ.items() if not name.startswith("STREAM_SCORER_")}
    done = subprocess.run(  # noqa: S603 this interpreter
        [sys.executable, "-m", "tests.support.hostile", "--kinds", kinds, "--first-wrong"],
        cwd=root, env={**own, "PYTHONPATH": str(root)}, capture_output=True, text=True,
        timeout=_SECONDS, check=False,
    )  # fmt: skip
    if not done.stdout:
        raise SystemExit(f"no requests could be sent to {root}: {done.stderr[-1_000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def removals(root: Path, count: int, seed: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Remove checks from a copy of a checkout; return who noticed which removal.

    Args:
        root: Of the checkout.
        count: How many.
        seed: Draws them.
        told: Called with a line for each.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        copied(root, folder)
        (folder / "tests").symlink_to(root / "tests")
        package = folder / "stream_scorer"

        def notice(check: Check) -> str:
            return next(iter(run_requests(folder, FILES[check.file])["wrong"]), "")

        return remove_each(drawn(gateway_checks(package), count, seed), package, notice, told)


def main() -> int:
    """Remove, print, and judge."""
    script = Script(
        __doc__, "five checks",
        removals=Number(REMOVALS, 5, "checks to remove"), seed=Number(1, 1, "draws the checks"),
    )  # fmt: skip
    found = removals(ROOT, script.options.removals, script.options.seed, say)
    failed = [f"not noticed when it was removed: {check}" for check in found["missed"]]
    by = found.pop("by")
    return script.conclude(
        found, failed, table("Removed checks", "check", "noticed by", rows=by.items())
    )


if __name__ == "__main__":
    raise SystemExit(main())
