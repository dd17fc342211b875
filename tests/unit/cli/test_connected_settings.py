"""A command's cluster is that of the settings, or else the devkafka of the current folder."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest

from stream_scorer.cli import serve
from stream_scorer.cli.export_device import export_for_device
from stream_scorer.cli.options import ClusterOptions, connected_settings
from stream_scorer.devkafka import background
from stream_scorer.devkafka.processes import started_at
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.settings import Settings


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAM_SCORER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def devkafka() -> None:
    """Write the state of a devkafka whose broker is this process."""
    member = {"name": "broker 0", "pid": os.getpid(), "started": started_at(os.getpid())}
    state = {
        "bootstrap": "127.0.0.1:1", "registry_url": "http://127.0.0.1:2", "nodes": 1,
        "directory": "d", "processes": [member],
    }  # fmt: skip
    background.DIRECTORY.mkdir(parents=True)
    (background.DIRECTORY / "state.json").write_text(json.dumps(state))


def test_without_an_address_both_ways_out_are_named() -> None:
    with pytest.raises(SettingsError, match=r"--bootstrap .*stream-scorer kafka start"):
        connected_settings()


def test_a_named_cluster_is_stronger_and_keeps_its_own_registry(devkafka: None) -> None:
    settings = connected_settings(bootstrap="elsewhere:9092")
    assert (settings.kafka.bootstrap, settings.registry.url) == ("elsewhere:9092", "")


def test_the_devkafka_of_the_folder_is_found_with_its_registry(devkafka: None) -> None:
    settings = connected_settings(overrides={"kafka": {"group": "mine"}})
    assert settings.kafka.bootstrap == "127.0.0.1:1"
    assert settings.kafka.group == "mine"
    assert settings.registry.url == "http://127.0.0.1:2"


def test_a_named_registry_stays(devkafka: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SCORER_REGISTRY__URL", "http://other")
    settings = connected_settings()
    assert (settings.kafka.bootstrap, settings.registry.url) == ("127.0.0.1:1", "http://other")


def test_an_api_for_devices_alone_finds_it(devkafka: None, monkeypatch: pytest.MonkeyPatch) -> None:
    served = mock.Mock()
    monkeypatch.setattr("stream_scorer.serving.server.process.run_server", served)
    monkeypatch.setenv("STREAM_SCORER_SERVING__EDGE__ENABLED", "true")
    serve.serve(options=ClusterOptions())
    assert served.call_args.args[0].kafka.bootstrap == "127.0.0.1:1"


def test_an_export_with_histories_finds_it(
    devkafka: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exported = mock.Mock(side_effect=EdgeError("seen", "here"))
    monkeypatch.setattr("stream_scorer.edge.export.device_folder.export_device", exported)
    monkeypatch.setattr("stream_scorer.edge.operator.registrations.read_request", mock.Mock())
    ids, request, found = tmp_path / "ids", tmp_path / "request.json", "127.0.0.1:1"
    ids.write_text("1\n")
    for state, asked, rows, bootstrap in (
        (ids, request, False, found), (None, request, True, found), (None, request, False, ""),
        # Refused without a cluster.
        (ids, None, False, ""),
    ):  # fmt: skip
        with pytest.raises(EdgeError):
            export_for_device(
                Settings(), "fraud", tmp_path / "out", None, None, asked, state, terminal_rows=rows
            )
        assert exported.call_args.args[0].kafka.bootstrap == bootstrap
