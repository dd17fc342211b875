"""A device with the shipped model without terminals."""

from pathlib import Path

import pytest

from tests.support.device.device_world import DeviceWorld, device_world, make_release


@pytest.fixture(scope="session")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def world(tmp_path: Path, release_folder: Path) -> DeviceWorld:
    return device_world(tmp_path / "device", release_folder)
