"""Which parts the command line asks for, and that a failed start leaves nothing open."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.serving.server.compose import Composition
from stream_scorer.serving.server.parts import Asked
from stream_scorer.settings import Settings, load_settings
from stream_scorer.telemetry import Event
from tests.support.models.noise_bundles import AMOUNT, STORED, write


def settings_of(tmp_path: Path, **serving: Any) -> Settings:
    table = {"access": {"open_on_loopback": True}, **serving}
    return load_settings({"serving": table, "models": {"directory": str(tmp_path)}})


def ignore(event: Event) -> None:
    del event


def closed(composition: Composition) -> None:
    """Enter and leave the first part, which closes the gate."""

    async def scenario() -> None:
        async with composition.parts[0].contexts[0]:
            pass

    asyncio.run(scenario())


def gates() -> int:
    """Return how many gates are open."""
    return sum(each.name == "access" for each in threading.enumerate())


def paths(composition: Composition) -> set[str]:
    return {route.pattern.split("/")[1] for route in composition.routes()}


def test_nothing_to_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to serve"):
        Asked().compose(settings_of(tmp_path), ignore)
    assert gates() == 0


def test_grpc_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"serving\.grpc_port is set, but gRPC serves only"):
        Asked(Deployment("fraud:1.2.0")).compose(settings_of(tmp_path, grpc_port=0), ignore)
    assert gates() == 0


def test_both_parts_are_served(tmp_path: Path) -> None:
    write(tmp_path, "1.2.0", (AMOUNT, STORED))
    asked = Asked(Deployment("fraud:1.2.0"), ("fraud",))
    composition = asked.compose(settings_of(tmp_path), ignore)
    assert paths(composition) == {"openapi.json", "v1", "v2"}
    # The window is not read yet.
    assert composition.reasons() == ["the window is being read"]
    assert len([each for part in composition.parts for each in part.servicers]) == 1
    closed(composition)
    assert gates() == 0


def test_the_setting_names_the_models(tmp_path: Path) -> None:
    write(tmp_path, "1.2.0", (AMOUNT, STORED))
    settings = settings_of(tmp_path, inference={"models": ["fraud:1.2.0"]})
    composition = Asked().compose(settings, ignore)
    assert paths(composition) == {"openapi.json", "v2"}
    assert composition.reasons() == []
    closed(composition)


def test_a_missing_model_closes_the_gate(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Asked(None, ("fraud",)).compose(settings_of(tmp_path), ignore)
    assert gates() == 0


def test_access_must_be_configured(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no client is configured"):
        Asked(None, ("fraud",)).compose(
            settings_of(tmp_path, access={"open_on_loopback": False}), ignore
        )


@pytest.mark.parametrize("which", ["http", "grpc"])
def test_each_listener_is_checked(tmp_path: Path, which: str) -> None:
    # The header of a peer without a certificate would be believed.
    access = {"clients_file": str(tmp_path / "clients.json"), "certificate_peers": ["10.0.0.0/8"]}
    files = ("tls_certificate", "tls_key", "grpc_client_ca" if which == "http" else "client_ca")
    own = {name: str(tmp_path / name) for name in files}
    settings = settings_of(tmp_path, access=access, grpc_port=0, **own)
    with pytest.raises(SettingsError, match="without a certificate"):
        Asked(None, ("fraud",)).compose(settings, ignore)


def test_a_failed_part_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composition = Asked(Deployment("fraud:1.0.0")).compose(settings_of(tmp_path), ignore)
    monkeypatch.setattr(DecisionService, "failure", property(lambda _: OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        composition.reasons()
    closed(composition)
