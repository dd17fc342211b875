"""A scorer loads a trainer's version by the accepted plan alone, however it was loaded before."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import parse_plan
from stream_scorer.rollout.log import load_versions
from stream_scorer.rollout.log.load_versions import LiveVersions
from stream_scorer.settings import Models, Settings
from tests.support.faults.process import wait_until
from tests.support.models.noise_bundles import AMOUNT, write
from tests.support.models.trained_bundles import retrained
from tests.support.rollout.grants import OTHER, TRAINER
from tests.support.rollout.written_log import Log

OLD, NEW = Version("fraud", "0.1.0"), Version("fraud", "0.2.0")
SHARED = parse_plan("")


def revision(number: int, *arms: Version) -> Routing:
    named = dict(zip(("champion", "canary"), arms, strict=False))
    return Routing(
        number, named, shadows=tuple(named)[1:], shared=replace(SHARED, revision=number)
    )  # fmt: skip


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(load_versions, "ControlLog", lambda *_: made)
    monkeypatch.setattr(load_versions, "_POLL_SECONDS", 0.01)
    return made


@contextmanager
def scorer(store: Path, warm: str | None = None) -> Iterator[LiveVersions]:
    told: list[Any] = []
    with ExitStack() as stack:
        versions = LiveVersions(Settings(models=Models(directory=store)), told.append, warm)
        stack.callback(versions.close)
        versions.wait([])
        versions.begin(lambda *_: None)
        yield versions


@pytest.mark.parametrize("warm", [None, NEW.label])
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"manifest_sha256": OTHER}, "its manifest.json is not the one that the trainer's plan"),
    ],
)
def test_the_plans_bundle_decides_and_no_other(
    log: Log, tmp_path: Path, warm: str | None, changed: dict[str, str], why: str
) -> None:
    write(tmp_path, OLD.version, (AMOUNT,))
    granted = retrained(tmp_path, tmp_path / "fraud" / OLD.version, NEW.version, TRAINER, **changed)
    log.add(revision(1, OLD))
    with scorer(tmp_path, warm) as versions:
        log.trained = {NEW.label: granted}
        log.add(revision(2, OLD, NEW))
        wait_until(lambda: _settled(versions), "revision 2 is judged")
        assert why in versions.fleet.refused.get(2, "")
        assert versions.fleet.newest.revision == (1 if why else 2)


def test_a_version_that_was_compared_with_another_content(log: Log, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, OLD.version, (AMOUNT,))
    granted = retrained(tmp_path, elsewhere / "fraud" / OLD.version, NEW.version, TRAINER)
    write(tmp_path, OLD.version, (AMOUNT, {**AMOUNT, "name": "AGAIN"}))
    log.add(revision(1, OLD))
    log.trained = {NEW.label: granted}
    with scorer(tmp_path) as versions:
        log.add(revision(2, OLD, NEW))
        wait_until(lambda: _settled(versions), "revision 2 is judged")
        assert "was compared with another content of fraud:0.1.0" in versions.fleet.refused[2]


def _settled(versions: LiveVersions) -> bool:
    return 2 in versions.fleet.refused or versions.fleet.newest.revision == 2
