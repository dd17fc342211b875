"""A device takes only a release that it can decide with, and that scores as at its training."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.edge.update.gather_release import gather_release
from stream_scorer.edge.update.refusals import UpdateGoldenError, UpdateUnfitError
from stream_scorer.edge.update.verify_release import verify_release
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.security.keys import generate
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from tests.support.edge.exported import settings_of, upgraded
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, candidate

SETTINGS = Settings()
PLAN = MODELS_DIRECTORY / "fraud" / "plan.toml"
TERMINALS: Any = tuple(
    {"name": f"T{days}", "kind": "count", "key": "terminal_id", "delay": "7d", "window": f"{days}d"}
    for days in (1, 7, 30)
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with fraud:3.0.0 and fraud:3.0.1 for engine 3, and fraud:3.1.1 with terminals."""
    found = upgraded(tmp_path_factory.mktemp("store"), "3.0.0", "3.0.1")
    made = candidate(MODELS["decision_tree"].fit(ROWS, FRAUD), "3.1.1")
    write_bundle(found, replace(made, features=TERMINALS, engine=3), ROWS)
    return found


Gathered = Callable[..., Path]


@pytest.fixture
def gathered(store: Path, tmp_path: Path) -> Gathered:
    """Makes the folder of a release."""

    def make(name: str, version: str = "3.0.1", store: Path = store) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        gather_release(settings_of(store), f"fraud:{version}", PLAN, folder)
        return folder

    return make


@pytest.fixture
def release(gathered: Gathered) -> Path:
    return gathered("release")


def _rewrite(release: Path, name: str, change: Callable[[dict[str, object]], None]) -> None:
    """Change a file of the bundle, and let the manifest name what it is now."""
    bundle = release / "fraud/3.0.1"
    document = json.loads((bundle / name).read_text())
    change(document)
    (bundle / name).write_text(json.dumps(document))
    if name != "manifest.json":
        digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        _rewrite(release, "manifest.json", lambda each: each["files"].update({name: digest}))  # type: ignore[attr-defined]


def test_a_version_of_the_shipped_bundle_is_a_release(release: Path) -> None:
    verified = verify_release(release, SETTINGS)
    assert verified.bundle.manifest.label == "fraud:3.0.1"
    assert verified.model.name == "fraud"
    assert verified.plan.currencies == {"EUR": 2}
    assert verify_release(release, SETTINGS, release).model.version == "3.0.1"


def test_other_scores_than_at_its_training_are_refused(release: Path) -> None:
    def change(golden: dict[str, object]) -> None:
        scores = golden["scores"]
        assert isinstance(scores, list)
        scores[0] += 1e-12

    _rewrite(release, "golden.json", change)
    with pytest.raises(UpdateGoldenError, match="golden vectors"):
        verify_release(release, SETTINGS)


def test_a_later_version_fits_the_rings_of_an_earlier_one(
    release: Path, gathered: Gathered
) -> None:
    earlier = gathered("earlier", "3.0.0")
    assert verify_release(release, SETTINGS, earlier).model.version == "3.0.1"


def test_the_history_of_terminals_does_not_come_by_an_update(
    release: Path, gathered: Gathered
) -> None:
    terminals = gathered("terminals", "3.1.1")
    with pytest.raises(UpdateUnfitError, match="needs the history of terminals"):
        verify_release(terminals, SETTINGS)
    with pytest.raises(UpdateUnfitError, match="terminals' rows are not kept"):
        verify_release(terminals, SETTINGS, release)
    assert verify_release(terminals, SETTINGS, terminals=True).model.version == "3.1.1"
    # A device that was provisioned with it takes the next one with the same features.
    assert verify_release(terminals, SETTINGS, terminals).model.version == "3.1.1"


def test_rings_that_cannot_serve_it_are_named(release: Path, gathered: Gathered) -> None:
    other = gathered("other")
    plan = other / "fraud/plan.toml"
    text, count = re.subn(r"lateness_ms *= *[0-9_]+", "lateness_ms = 60000", plan.read_text())
    assert count == 1
    plan.write_text(text)
    with pytest.raises(UpdateUnfitError, match="lateness, ring cap or currency differ"):
        verify_release(other, SETTINGS, release)


def test_probabilities_that_depend_on_the_machine_are_refused(gathered: Gathered) -> None:
    shipped = gathered("shipped", "1.0.1", MODELS_DIRECTORY)
    with pytest.raises(UpdateUnfitError, match="engine 1, whose probabilities") as refused:
        verify_release(shipped, SETTINGS)
    assert "models upgrade fraud:1.0.1 --engine 3" in refused.value.fix


def _altered(release: Path) -> None:
    (release / "fraud/3.0.1/model.safetensors").write_bytes(b"\0" * 100)


def _other_engine(release: Path) -> None:
    _rewrite(release, "manifest.json", lambda manifest: manifest.update(engine=99))


def _no_plan(release: Path) -> None:
    (release / "fraud/plan.toml").unlink()


def _bad_plan(release: Path) -> None:
    (release / "fraud/plan.toml").write_text("ring_cap = 0\n")


def _no_bundle(release: Path) -> None:
    (release / "fraud/3.0.1/manifest.json").unlink()


@pytest.mark.parametrize("change", [_altered, _other_engine, _no_plan, _bad_plan, _no_bundle])
def test_what_is_not_a_release_is_unfit(release: Path, change: Callable[[Path], None]) -> None:
    change(release)
    with pytest.raises(UpdateUnfitError):
        verify_release(release, SETTINGS)


def test_a_device_that_wants_signatures_gets_them(release: Path, tmp_path: Path) -> None:
    trusted = {"risk": generate(tmp_path / "risk").public_base64}
    models = Models(require_signature=True, trusted_keys=trusted)
    settings = SETTINGS.model_copy(update={"models": models})
    with pytest.raises(UpdateUnfitError, match="sign"):
        verify_release(release, settings)


def test_what_a_release_before_decided_with_needs_no_golden_rows(
    release: Path, gathered: Gathered
) -> None:
    serving = gathered("serving", "3.0.0")
    golden = serving / "fraud/3.0.0/golden.json"
    golden.write_text("{}")
    # Else a device could not leave a release whose golden rows fail.
    assert verify_release(release, SETTINGS, serving).model.version == "3.0.1"
