"""``stream-scorer serve`` as its operator runs it, with clients of each kind and an issuer."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.models.noise_bundles import write
from tests.support.serving.access import AUDIENCE, ISSUER, Issuer, claims_with, make_key
from tests.support.serving.inference_calls import NAMES
from tests.support.serving.running_server import SECONDS, RunningServer, free_port

ROOT = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-c", "from stream_scorer.cli import main; main()")
MODEL, VERSION = "fraud", "1.2.0"
FEATURES = tuple({"name": name, "kind": "passthrough", "field": "amount"} for name in NAMES)
GOOD_BODY = {
    "inputs": [
        {"name": "features", "shape": [1, len(NAMES)], "datatype": "FP64", "data": [1.5] * 7}
    ]
}
SCOPES: Mapping[str, tuple[str, ...]] = {
    "shop": ("score",), "auditor": ("read",), "operator": ("operate",), "eager": ("score",),
}  # fmt: skip


@dataclass
class ServedApi(RunningServer):
    """A running API.

    Attributes:
        keys: API keys by client.
        issuer: Signs tokens that it accepts.
        folder: Of its files.
    """

    keys: dict[str, str] = field(default_factory=dict)
    issuer: Issuer = field(default_factory=Issuer)
    folder: Path = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def credential(self, client: str = "shop") -> str:
        """Return the value of ``Authorization`` of a client."""
        return f"Bearer {self.keys[client]}"

    def token(
        self, name: str = "ec", header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token that is valid now, apart from what is given."""
        now = int(time.time())
        return self.issuer.token(name, header, **{**fresh_claims(now), **claims})

    @property
    def memory(self) -> int:
        """Resident memory, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
        return int(line.split()[1]) * 1_024


def fresh_claims(now: int | None = None) -> dict[str, Any]:
    """Return valid claims of now."""
    now = int(time.time()) if now is None else now
    return claims_with(iat=now, exp=now + 600)


@contextmanager
def served_api(
    folder: Path, *arguments: str, serving: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None, models: Sequence[str] = (f"{MODEL}:{VERSION}",),
    lines: int = 1, environment: Mapping[str, str] | None = None,
    clients: Callable[[Path], Mapping[str, str]] = lambda _: {},
) -> Iterator[ServedApi]:  # fmt: skip
    """Run the API with a model of the features F0 to F6, and clients with one scope each.

    Args:
        folder: For its files.
        arguments: Further ones of the command.
        serving: Settings of the group ``serving``; those of ``access`` are added to the clients'.
        settings: Further groups.
        models: Models of ``/v2``.
        lines: Addresses that it announces.
        environment: Further variables.
        clients: Adds further clients to the clients file of a folder; returns their keys.
    """
    write(folder / "store", VERSION, FEATURES)
    # Requests that come one after the other do not reach a limit, except those of "eager".
    limits = {"rate_per_second": 10_000.0, "burst": 10_000}
    keys = {name: make_key(folder, name, scopes=list(SCOPES[name]), **limits) for name in SCOPES
            if name != "eager"}  # fmt: skip
    keys["eager"] = make_key(folder, "eager", rate_per_second=0.001, burst=1)
    keys |= clients(folder)
    issuer = Issuer()
    (folder / "jwks.json").write_bytes(issuer.document())
    given = dict(serving or {})
    access = {
        "clients_file": str(folder / "clients.json"), "token_issuer": ISSUER,
        "token_audience": AUDIENCE, "token_keys": str(folder / "jwks.json"),
        "token_scopes": {"scorer.decide": ["score"]}, "failures_per_minute": 100_000,
        **given.pop("access", {}),
    }  # fmt: skip
    probes = free_port()
    told = {
        "serving": {"port": 0, **given, "access": access}, "http": {"port": probes},
        "audit": {"path": str(folder / "audit.log")},
        "models": {"directory": str(folder / "store")}, **(settings or {}),
    }  # fmt: skip
    (folder / "api.toml").write_text(toml(told))
    named = [part for model in models for part in ("--model", model)]
    command = [*PROGRAM, "serve", "--config", str(folder / "api.toml"), *named, *arguments]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("STREAM_SCORER_")}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603 our own program
            command, stdout=subprocess.DEVNULL, stderr=errors, text=True, cwd=ROOT,
            env={**clean, **(environment or {})},
        )  # fmt: skip
        with process:
            api = ServedApi(process, [], probes, errors, keys, issuer, folder)
            try:
                await_lines(api, lines)
                yield api
            finally:
                process.kill()


def await_lines(api: ServedApi, count: int) -> None:
    """Wait until it has announced its addresses."""
    until = time.monotonic() + 3 * SECONDS
    while len(api.lines) < count:
        assert api.process.poll() is None, api.written()
        assert time.monotonic() < until, api.written()
        time.sleep(0.02)
        api.lines = [each for each in api.written().splitlines() if each.startswith("serving ")]


def toml(settings: Mapping[str, Any], prefix: str = "") -> str:
    """Return settings as a TOML file."""
    plain = {name: each for name, each in settings.items() if not isinstance(each, dict)}
    text = "".join(f"{json.dumps(name)} = {json.dumps(each)}\n" for name, each in plain.items())
    if prefix:
        text = f"[{prefix}]\n{text}"
    for name, each in settings.items():
        if isinstance(each, dict):
            quoted = name if name.replace("_", "").isalnum() else json.dumps(name)
            text += toml(each, f"{prefix}.{quoted}" if prefix else quoted)
    return text
