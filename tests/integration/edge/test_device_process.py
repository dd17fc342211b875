"""A device from its keys to its restart, by the commands that people use."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.edge.run.ask import running_status
from stream_scorer.edge.settings.device import Edge
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.settings import MODELS_DIRECTORY, Settings, load_settings
from tests.support.device.device_process import body

COMMAND = (sys.executable, "-c", "from stream_scorer.cli import main; main()")
_SECONDS = 60.0


class Device:
    """A device's folder and settings, and its process."""

    def __init__(self, folder: Path, **edge: str) -> None:
        (self.port, self.probes) = free_ports(2)
        self.folder = folder
        self.variables = {
            **{key: value for key, value in os.environ.items() if "STREAM_SCORER" not in key},
            "STREAM_SCORER_EDGE__DIRECTORY": str(folder / "device"),
            "STREAM_SCORER_EDGE__DEVICE": "till-17",
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

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start ``edge run``, and kill it at the end if it still runs."""
        process = subprocess.Popen(  # noqa: S603 our command
            [*COMMAND, "edge", "run", *words], env=self.variables, stderr=subprocess.PIPE
        )
        try:
            deadline = time.monotonic() + _SECONDS
            while not self.listens():
                assert process.poll() is None, (
                    (process.stderr and process.stderr.read()) or b""
                ).decode()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.communicate()

    def listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("store")
    upgrade(load_settings({}), "fraud:1.0.1", "1.0.2", found, engine=3)
    return found


@pytest.fixture
def device(tmp_path: Path, store: Path) -> Device:
    made = Device(tmp_path)
    told = made.document("edge", "init")
    assert told["device"] == "till-17"
    plan = MODELS_DIRECTORY / "fraud" / "plan.toml"
    out = tmp_path / "export"
    done = made.command(
        "export", "fraud:1.0.2", "--store", str(store), "--plan", str(plan), "--target", "device",
        "--out", str(out), "--for", str(told["request"]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert made.document("edge", "install", str(out))["model"] == "fraud:1.0.2"
    return made


def without_time(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "decided_at"}


def test_a_device_survives_kills_and_ends_on_a_signal(device: Device) -> None:
    refused = device.command("edge", "run")
    assert refused.returncode == 15
    assert b"--accept-cold" in refused.stderr
    answers = []
    with device.running("--accept-cold") as process:
        for number in range(10):
            status, answer = device.post(body(number))
            assert status == 200
            answers.append(answer)
        process.send_signal(signal.SIGKILL)
        process.wait(_SECONDS)
    with device.running() as process:
        assert device.document("edge", "status")["sequence"] == 10
        assert [device.post(body(number))[1] for number in range(10)] == answers
        assert device.post(body(10))[1]["sequence"] == 11
        # A second one is kept out.
        assert device.command("edge", "run", "--stdin").returncode == 15
        process.send_signal(signal.SIGTERM)
        assert process.wait(_SECONDS) == 0
    told = device.document("edge", "status")
    assert (told["sequence"], told["outbox"], told["release"]) == (11, 11, "fraud:1.0.2")


def test_lines_are_decided_and_can_be_cut(device: Device) -> None:
    text = b"".join(json.dumps(body(number)).encode() + b"\n" for number in range(5))
    done = device.command("edge", "run", "--stdin", "--accept-cold", given=text + b"{")
    assert done.returncode == 0, done.stderr.decode()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each.get("sequence") for each in found] == [1, 2, 3, 4, 5, None]
    assert found[-1]["error"]["code"] == "INVALID_JSON"
    again = device.command("edge", "run", "--stdin", given=text)
    assert [json.loads(line) for line in again.stdout.splitlines()] == found[:5]


def test_a_device_answers_at_a_unix_socket(device: Device, tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    device.variables["STREAM_SCORER_EDGE__UNIX_SOCKET"] = str(path)
    asking = Settings(edge=Edge(unix_socket=path, device="till-17"))
    process = subprocess.Popen(  # noqa: S603 our command
        [*COMMAND, "edge", "run", "--accept-cold"], env=device.variables, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + _SECONDS
        while (found := running_status(asking)) is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert found["sequence"] == 0
        assert path.stat().st_mode & 0o007 == 0
    finally:
        process.kill()
        process.communicate()


def test_an_altered_export_is_refused(device: Device, tmp_path: Path) -> None:
    for path in (tmp_path / "export").rglob("*"):
        if path.name == "manifest.json":
            path.write_bytes(path.read_bytes().replace(b"REVIEW", b"BLOCK"))
    done = device.command("edge", "install", str(tmp_path / "export"))
    assert done.returncode == 15
    assert b"is not what was exported" in done.stderr
