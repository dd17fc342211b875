"""A device from its keys to its restart, by the commands that people use."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stream_scorer.edge.run.ask import running_status
from stream_scorer.edge.settings.device import Edge
from stream_scorer.settings import Settings
from tests.support.device.device_command import COMMAND, DeviceCommands, device_store
from tests.support.device.device_process import body
from tests.support.device.device_world import DEVICE

_SECONDS = 60.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return device_store(tmp_path_factory.mktemp("store"), "1.0.2")


@pytest.fixture
def device(tmp_path: Path, store: Path) -> DeviceCommands:
    made = DeviceCommands(tmp_path)
    made.provisioned(store, "1.0.2")
    return made


def test_a_device_survives_kills_and_ends_on_a_signal(device: DeviceCommands) -> None:
    told = device.document("edge", "status")
    assert (told["sequence"], told["release"], told["customers"]) == (0, "fraud:1.0.2", 0)
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
        metrics = device.metrics()
        assert "stream_scorer_edge_release_info{" in metrics
        assert re.search(r"^stream_scorer_edge_outbox_rows 1[01]\.0$", metrics, re.MULTILINE)
        # A second one is kept out.
        assert device.command("edge", "run", "--stdin").returncode == 15
        process.send_signal(signal.SIGTERM)
        assert process.wait(_SECONDS) == 0
    told = device.document("edge", "status")
    assert (told["sequence"], told["outbox"], told["release"]) == (11, 11, "fraud:1.0.2")


def test_lines_are_decided_and_can_be_cut(device: DeviceCommands) -> None:
    text = b"".join(json.dumps(body(number)).encode() + b"\n" for number in range(5))
    done = device.command("edge", "run", "--stdin", "--accept-cold", given=text + b"{")
    assert done.returncode == 0, done.stderr.decode()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each.get("sequence") for each in found] == [1, 2, 3, 4, 5, None]
    assert found[-1]["error"]["code"] == "INVALID_JSON"
    again = device.command("edge", "run", "--stdin", given=text)
    assert [json.loads(line) for line in again.stdout.splitlines()] == found[:5]


def test_a_device_answers_at_a_unix_socket(device: DeviceCommands, tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    device.variables["STREAM_SCORER_EDGE__UNIX_SOCKET"] = str(path)
    asking = Settings(edge=Edge(unix_socket=path, device=DEVICE))
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


def test_an_altered_export_is_refused(device: DeviceCommands, tmp_path: Path) -> None:
    for path in (tmp_path / "export").rglob("*"):
        if path.name == "manifest.json":
            path.write_bytes(path.read_bytes().replace(b"REVIEW", b"BLOCK"))
    done = device.command("edge", "install", str(tmp_path / "export"))
    assert done.returncode == 15
    assert b"is not what was exported" in done.stderr


def test_a_release_of_its_own_and_updates_exclude_each_other(
    device: DeviceCommands, store: Path
) -> None:
    device.variables["STREAM_SCORER_EDGE__UPDATE__URL"] = "https://localhost/edge"
    done = device.command("edge", "run", "--accept-cold", "--release", str(store))
    assert done.returncode == 2
    assert b"leave --release out" in done.stderr
