"""A plan for which a loaded version has no history is refused, and warmed after a restart."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import Draws
from stream_scorer.core.features.compile import Engine
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.loop import patient_read
from stream_scorer.models.bundles.loader import Bundle, models_under
from stream_scorer.rollout.log import load_versions
from stream_scorer.rollout.log.load_versions import LiveVersions
from stream_scorer.settings import Models, Settings
from stream_scorer.telemetry import (
    DependencyBack,
    DependencyUnavailable,
    Event,
    RevisionRefused,
    VersionsExpected,
)
from tests.support.faults.process import wait_until
from tests.support.rollout.mapped_extras import VERSION, plan_of, revision, write_model
from tests.support.rollout.written_log import Log
from tests.unit.core.exploring.test_draws import KEY, explore

OLD, NEW = plan_of("Gross"), plan_of("total")
LATER = 1_700_000_000_000
COLD = "fraud:1.0.0 is warming: the rings do not keep gross (double) as this events.toml defines it"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(load_versions, "ControlLog", lambda *_: made)
    monkeypatch.setattr(load_versions, "_POLL_SECONDS", 0.01)
    return made


Start = Callable[..., LiveVersions]


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def start(log: Log, told: list[Event], tmp_path: Path) -> Iterator[Start]:
    write_model(tmp_path)
    with ExitStack() as stack:

        def started(*active: int, check: Callable[[Plan], None] = lambda _: None) -> LiveVersions:
            settings = Settings(models=Models(directory=tmp_path))
            made = LiveVersions(settings, told.append, check=check)
            stack.callback(made.close)
            made.wait(active)
            made.begin(lambda *_: None)
            return made

        yield started


def shown(versions: LiveVersions) -> list[int]:
    return [routing.revision for routing in versions.fleet.routings]


@pytest.mark.parametrize("effective_at", [None, LATER])
def test_a_mapping_that_leaves_a_loaded_version_cold_is_refused(
    log: Log, told: list[Event], start: Start, effective_at: int | None
) -> None:
    log.add(revision(1, OLD))
    versions = start()
    rings = PartitionRings(versions.fleet.features)
    log.add(revision(2, NEW, effective_at))
    wait_until(lambda: 2 in versions.fleet.refused, "it is refused")
    assert versions.fleet.refused[2] == (
        f"{COLD} — restart the scorers; it then begins when it is warm"
    )
    assert shown(versions) == [1]
    rings.adopt(versions.fleet.features)
    assert [each.revision for each in told if isinstance(each, RevisionRefused)] == [2]
    expected = [each for each in told if isinstance(each, VersionsExpected)]
    assert expected == [VersionsExpected((VERSION.label,))] * 2


def test_a_revision_whose_key_is_missing_is_refused(
    log: Log, told: list[Event], start: Start
) -> None:
    exploring = replace(OLD, label_policy={"unlabelled": "genuine"}, explore=explore())
    log.add(revision(1, OLD))
    versions = start(check=Draws().check)
    log.add(revision(2, exploring))
    wait_until(lambda: 2 in versions.fleet.refused, "it is refused")
    assert "explore: needs the key" in versions.fleet.refused[2]
    assert shown(versions) == [1]
    assert [each.revision for each in told if isinstance(each, RevisionRefused)] == [2]
    # A process that has the key follows it.
    keyed = start(check=Draws(KEY).check)
    assert (shown(keyed)[-1], keyed.fleet.refused) == (2, {})


@pytest.mark.parametrize("effective_at", [None, LATER])
def test_after_a_restart_rings_keep_both_definitions(
    log: Log, start: Start, effective_at: int | None
) -> None:
    log.add(revision(1, OLD), revision(2, NEW, effective_at))
    versions = start(1)
    fleet = versions.fleet
    assert (shown(versions), fleet.refused) == ([1, 2], {})
    needs = [fleet.models[number][VERSION].features.need.fields for number in (1, 2)]
    assert set(fleet.features.engine.fields) == {*needs[0], *needs[1]}
    assert needs[0] != needs[1]
    assert fleet.read_by == {
        needs[0][0]: fleet.routings[0].shared, needs[1][0]: fleet.routings[1].shared,
    }  # fmt: skip
    # The rings keep both until the next restart, whichever revision decides.
    rings = PartitionRings(fleet.features)
    log.add(revision(3, NEW))
    wait_until(lambda: shown(versions)[-1] == 3, "the third is shown")
    assert versions.fleet.features.engine.fields == fleet.features.engine.fields
    assert versions.fleet.read_by.keys() == fleet.read_by.keys()
    rings.adopt(versions.fleet.features)


def test_a_registry_that_fails_at_the_start_is_waited_for(
    log: Log, told: list[Event], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh, failures = log.refresh, iter(range(3))

    def failing() -> None:
        if next(failures, None) is not None:
            raise RegistryUnavailableError("registry: HTTP 500")
        refresh()

    monkeypatch.setattr(patient_read, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(log, "refresh", failing)
    log.add(revision(1, OLD))
    assert shown(start()) == [1]
    assert [type(each) for each in told[:2]] == [DependencyUnavailable, DependencyBack]


def test_a_plan_without_the_extra_field_is_refused(log: Log, start: Start) -> None:
    log.add(revision(1, OLD))
    versions = start()
    log.add(revision(2, plan_of(None)))
    wait_until(lambda: 2 in versions.fleet.refused, "it is refused")
    assert "gross" in versions.fleet.refused[2]
    log.add(revision(3, OLD))
    wait_until(lambda: shown(versions)[-1] == 3, "the third is shown")


def test_a_version_is_compiled_alone_only_once(
    log: Log, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone: list[int] = []

    def counted(asked: Sequence[tuple[Bundle, Plan]], rings: Engine | None = None) -> Any:
        if len(asked) == 1:
            alone.append(asked[0][1].revision)
        return models_under(asked, rings)

    monkeypatch.setattr(load_versions, "models_under", counted)
    log.add(revision(1, OLD))
    versions = start()
    for number in (2, 3, 4):
        log.add(revision(number, OLD, LATER + number))
        wait_until(lambda: shown(versions)[-1] == number, "it is shown")  # noqa: B023 called here
    assert shown(versions) == [1, 2, 3, 4]
    assert [alone.count(number) for number in (2, 3, 4)] == [1, 1, 1]
