"""A device that publishes its rows to Kafka itself: each one once, as through the API."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.edge.device.recovery import GapError
from stream_scorer.edge.files.export_folder import EXPORT, upload_names
from stream_scorer.edge.run.open_device import Device, opened_device
from stream_scorer.edge.run.requests import encoded, parsed
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Kafka, Settings
from tests.support.device.device_child import KILLED, ChildOrder, ended, fork_server
from tests.support.device.device_process import body, cold, device_settings
from tests.support.device.device_world import DEVICE, device_world, make_release
from tests.support.edge.published import Delivery, progress_in, rows_in
from tests.support.faults.process import wait_until

ROWS = 12


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"))


def direct(kafka: Kafka, folder: Path, **edge: int) -> Settings:
    """Return the settings of a device whose export names the group and the topics."""
    made = device_settings(folder, upload="kafka", **edge).model_copy(update={"kafka": kafka})
    (folder / EXPORT).write_text(json.dumps({"kafka": upload_names(kafka)}))
    return made


def decide(device: Device, first: int, end: int) -> None:
    for number in range(first, end):
        ((value,), _) = parsed(json.dumps(body(number)).encode())
        device.scorer.decide(encoded(value, device.maker))


def wait_uploaded(device: Device, sequence: int) -> None:
    outbox = device.state.outbox
    wait_until(lambda: outbox.deleted.sequence == sequence, lambda: str(device.failure))
    assert outbox.size() == (0, 0)


@pytest.mark.kafka
def test_rows_are_published_directly_and_once(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path,
    release: Path,
) -> None:  # fmt: skip
    kafka = kafka_topics(kafka_settings())
    settings = direct(kafka, tmp_path / "device", upload_rows=7)
    for first, end in ((0, 30), (30, 40)):
        with opened_device(settings, cold(release)) as device:
            decide(device, first, end)
            wait_uploaded(device, end)
            chain = device.state.history.chain
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, DEVICE, 40) == Delivery(0, 0)
    told = progress_in(kafka)[DEVICE]
    assert (told.sequence, told.chain) == (40, chain)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("asks", "checks", "duplicates"),
    [(True, True, 0), (True, False, 0), (False, True, 0), (False, False, ROWS)],
)
def test_a_kill_between_commit_and_deletion_doubles_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path,
    release: Path, *, asks: bool, checks: bool, duplicates: int,
) -> None:  # fmt: skip
    # Without both the question and the check, the same kill doubles every row.
    kafka = kafka_topics(kafka_settings())
    world, context = device_world(tmp_path / "device", release), fork_server()
    order = ChildOrder(world.folder, release, world.key.private_bytes_raw(), 0, ROWS)
    assert ended(context, order) == 0
    upload = replace(order, kafka=kafka, asks=asks, checks=checks)
    assert ended(context, replace(upload, step="answered")) == KILLED
    state = world.state()
    assert state.outbox.size()[0] == ROWS
    state.close()
    assert ended(context, upload) == 0
    state = world.state()
    assert (state.outbox.size(), state.outbox.deleted.sequence) == ((0, 0), ROWS)
    state.close()
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, DEVICE, ROWS) == Delivery(0, duplicates)


@pytest.mark.kafka
def test_a_restored_device_continues_only_with_consent(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path,
    release: Path,
) -> None:  # fmt: skip
    kafka, folder = kafka_topics(kafka_settings()), tmp_path / "device"
    settings = direct(kafka, folder)
    for first, end in ((0, 5), (5, 10)):
        with opened_device(settings, cold(release)) as device:
            decide(device, first, end)
            wait_uploaded(device, end)
        if not first:
            shutil.copytree(folder, tmp_path / "backup")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    with opened_device(settings, cold(release)) as device:
        wait_until(lambda: device.failure is not None, "the device stops")
        assert isinstance(device.failure, GapError)
    with opened_device(settings, cold(release, accept_gap=True)) as device:
        decide(device, 20, 24)
        wait_uploaded(device, 14)
        assert device.failure is None
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, DEVICE, 14) == Delivery(0, 0)


def test_a_device_starts_and_decides_without_a_broker(tmp_path: Path, release: Path) -> None:
    kafka = Kafka(bootstrap=f"127.0.0.1:{free_ports(1)[0]}")
    with opened_device(direct(kafka, tmp_path / "device"), cold(release)) as device:
        decide(device, 0, 3)
        uploader = device.uploader
        assert uploader is not None
        wait_until(lambda: "broker" in uploader.refused, lambda: uploader.refused)
        decide(device, 3, 5)
        assert (device.state.history.sequence, device.failure) == (5, None)
        began = time.monotonic()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["group", "topics.transactions", "topics.edge_progress"])
def test_names_other_than_the_exports_are_refused(tmp_path: Path, release: Path, name: str) -> None:
    settings = direct(Kafka(), tmp_path / "device")
    path = tmp_path / "device" / EXPORT
    told = {"kafka": upload_names(settings.kafka) | {name: "another"}}
    path.write_text(json.dumps(told))
    with (
        pytest.raises(SettingsError, match=rf"kafka\.{name} is .* and 'another'"),
        opened_device(settings, cold(release)),
    ):
        pass
    path.unlink()
    with pytest.raises(SettingsError, match="edge install"), opened_device(settings, cold(release)):
        pass
