"""A device takes releases over the air while it decides, and keeps deciding whatever comes."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.update.gather_release import gather_release
from stream_scorer.edge.update.repository import ReleaseStore
from stream_scorer.settings import load_settings
from tests.support.device.device_command import PLAN, DeviceCommands, device_store
from tests.support.device.device_process import body
from tests.support.edge.update_site import UpdateSite

SECONDS = 60.0


class Publisher:
    """An operator who publishes releases of a store to the devices of a channel."""

    def __init__(self, folder: Path, models: Path) -> None:
        self._folder = folder
        self._keys = {
            role: Ed25519PrivateKey.generate()
            for role in ("root", "targets", "snapshot", "timestamp")
        }
        self._repository = ReleaseStore(folder / "repository")
        self._repository.init(self._keys)
        self.models = models
        self.root = folder / "repository/metadata/1.root.json"

    def publish(self, version: str, plan: Path = PLAN) -> None:
        """Publish a version of the store."""
        made = self._folder / f"release-{version}"
        made.mkdir()
        settings = load_settings({"models": {"directory": str(self.models)}})
        gather_release(settings, f"fraud:{version}", plan, made)
        self._repository.add(made, "stable", self._keys)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return device_store(tmp_path_factory.mktemp("store"), "1.0.2", "1.0.3", "1.0.4")


@pytest.fixture
def operator(tmp_path: Path, models: Path) -> Publisher:
    return Publisher(tmp_path, models)


@pytest.fixture
def device(tmp_path: Path, operator: Publisher) -> Iterator[DeviceCommands]:
    operator.publish("1.0.2")
    made = DeviceCommands(tmp_path)
    made.provisioned(operator.models, "1.0.2")
    with UpdateSite(tmp_path / "repository", tmp_path) as site:
        made.variables |= {
            "STREAM_SCORER_EDGE__UPDATE__URL": site.url,
            "STREAM_SCORER_EDGE__UPDATE__CA": str(site.ca),
            "STREAM_SCORER_EDGE__UPDATE__CHECK_SECONDS": "1",
        }
        yield made


def refused_updates(device: DeviceCommands, kind: str) -> float:
    """Return how often an update was refused for a reason."""
    name = "stream_scorer_edge_update_errors_total"
    found = re.search(rf'^{name}{{kind="{kind}"}} (\S+)$', device.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_device_changes_its_release_between_two_answers(
    operator: Publisher, device: DeviceCommands, tmp_path: Path
) -> None:
    # What was installed is what the channel names, so there is nothing to take.
    told = device.document("edge", "update", "--root", str(operator.root), "--check")
    assert told["model"] is None
    with device.running("--accept-cold") as process:
        answers = [device.post(body(0))]
        operator.publish("1.0.3")
        deadline = time.monotonic() + SECONDS
        while answers[-1][1]["model_version"] != "1.0.3":
            assert time.monotonic() < deadline, device.said
            answers.append(device.post(body(len(answers))))
        # Each one was answered, by one release or the other, and numbered without a gap.
        assert {status for status, _ in answers} == {200}
        assert [told["sequence"] for _, told in answers] == list(range(1, len(answers) + 1))
        assert {told["model_version"] for _, told in answers} == {"1.0.2", "1.0.3"}
        assert device.post(body(0)) == answers[0]
        # A release whose plan does not fit the device's rings is refused, and it decides on.
        plan = tmp_path / "plan.toml"
        text = PLAN.read_text()
        assert "ring_cap = 4096" in text
        plan.write_text(text.replace("ring_cap = 4096", "ring_cap = 3"))
        operator.publish("1.0.4", plan)
        while not refused_updates(device, "unfit"):
            assert time.monotonic() < deadline, device.said
            time.sleep(0.1)
        answers.append(device.post(body(len(answers))))
        assert answers[-1][1]["model_version"] == "1.0.3"
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
    with device.running() as process:
        status, told = device.post(body(len(answers)))
        assert (status, told["model_version"]) == (200, "1.0.3")
        assert told["sequence"] == len(answers) + 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_a_device_decides_without_a_repository(device: DeviceCommands) -> None:
    # No root is trusted yet: that is reported, and ends nothing.
    with device.running("--accept-cold"):
        deadline = time.monotonic() + SECONDS
        while not refused_updates(device, "settings"):
            assert time.monotonic() < deadline, device.said
            time.sleep(0.1)
        assert "--root" in device.said
        assert device.post(body(0))[0] == 200
