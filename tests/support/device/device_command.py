"""A device by the commands that people use: its folder, its settings, its process."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.settings import MODELS_DIRECTORY, load_settings
from tests.support.device.device_world import DEVICE

PLAN = MODELS_DIRECTORY / "fraud" / "plan.toml"
COMMAND = (sys.executable, "-c", "from stream_scorer.cli import main; main()")
_SECONDS = 60.0


class DeviceCommands:
    """A device's folder and settings, and its process.

    Args:
        folder: Its files are in ``device`` below it.
        edge: Settings of the group ``edge``.

    Attributes:
        variables: The environment of its commands; a test may change it.
    """

    def __init__(self, folder: Path, **edge: str) -> None:
        (self.port, self.probes) = free_ports(2)
        self.folder = folder
        self.variables = {
            **{key: value for key, value in os.environ.items() if "STREAM_SCORER" not in key},
            "STREAM_SCORER_EDGE__DIRECTORY": str(folder / "device"),
            "STREAM_SCORER_EDGE__DEVICE": DEVICE,
            "STREAM_SCORER_EDGE__LISTEN": f"127.0.0.1:{self.port}",
            "STREAM_SCORER_HTTP__PORT": str(self.probes),
            **{f"STREAM_SCORER_EDGE__{key.upper()}": value for key, value in edge.items()},
        }

    def command(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        return subprocess.run(  # noqa: S603 our command
            [*COMMAND, *words], env=self.variables, input=given, capture_output=True, check=False,
            timeout=_SECONDS,
        )  # fmt: skip

    def document(self, *words: str) -> dict[str, Any]:
        """Run a command that prints JSON."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return dict(json.loads(done.stdout))

    @property
    def said(self) -> str:
        """What ``edge run`` has written."""
        return (self.folder / "run.log").read_text()

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start ``edge run``, and kill it at the end if it still runs."""
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 our command
                [*COMMAND, "edge", "run", *words], env=self.variables, stderr=log
            )
        try:
            deadline = time.monotonic() + _SECONDS
            while not self.listens():
                assert process.poll() is None, self.said
                assert time.monotonic() < deadline, self.said
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.wait()

    def listens(self) -> bool:
        """Whether programs can connect."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def metrics(self) -> str:
        """Return its metrics; it has looked at itself when it began."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/metrics") as answer:
            return str(answer.read().decode())

    def post(self, document: object) -> tuple[int, dict[str, Any]]:
        """Ask for a decision."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"content-type": "application/json"}
            connection.request("POST", "/v1/decisions", json.dumps(document), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def provisioned(self, store: Path, version: str, *words: str) -> dict[str, Any]:
        """Make the device's keys, export a release for it, and install that; return the report.

        Args:
            store: The store of models.
            version: Of the bundle.
            words: Further options of ``export``.
        """
        request = self.document("edge", "init")["request"]
        out = self.folder / "export"
        told = self.document(
            "export", f"fraud:{version}", "--store", str(store), "--plan", str(PLAN),
            "--target", "device", "--out", str(out), "--for", str(request), *words,
        )  # fmt: skip
        assert self.document("edge", "install", str(out))["model"] == f"fraud:{version}"
        return told


def device_store(folder: Path, *versions: str) -> Path:
    """Make a store with bundles that devices may decide with; all decide the same."""
    for version in versions:
        upgrade(load_settings({}), "fraud:1.0.1", version, folder, engine=3)
    return folder
