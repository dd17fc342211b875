"""A device takes only a release that it can decide with, and that scores as at its training."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.edge.update.gather_release import gather_release
from stream_scorer.edge.update.refusals import UpdateGoldenError, UpdateUnfitError
from stream_scorer.edge.update.verify_release import verify_release
from stream_scorer.security.keys import generate
from stream_scorer.settings import Models, Settings

SETTINGS = Settings()


def gathered(folder: Path, version: str = "1.0.1") -> Path:
    folder.mkdir()
    gather_release(SETTINGS, f"fraud:{version}", None, folder)
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return gathered(tmp_path / "release")


def _rewrite(release: Path, name: str, change: Callable[[dict[str, object]], None]) -> None:
    """Change a file of the bundle, and let the manifest name what it is now."""
    bundle = release / "fraud/1.0.1"
    document = json.loads((bundle / name).read_text())
    change(document)
    (bundle / name).write_text(json.dumps(document))
    if name != "manifest.json":
        digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        _rewrite(release, "manifest.json", lambda each: each["files"].update({name: digest}))  # type: ignore[attr-defined]


def test_the_shipped_bundle_is_a_release(release: Path) -> None:
    verified = verify_release(release, SETTINGS)
    assert verified.bundle.manifest.label == "fraud:1.0.1"
    assert verified.model.name == "fraud"
    assert verified.plan.currencies == {"EUR": 2}
    assert verify_release(release, SETTINGS, release).model.version == "1.0.1"


def test_other_scores_than_at_its_training_are_refused(release: Path) -> None:
    def change(golden: dict[str, object]) -> None:
        scores = golden["scores"]
        assert isinstance(scores, list)
        scores[0] += 1e-12

    _rewrite(release, "golden.json", change)
    with pytest.raises(UpdateGoldenError, match="golden vectors"):
        verify_release(release, SETTINGS)


def test_a_later_version_fits_the_rings_of_an_earlier_one(release: Path, tmp_path: Path) -> None:
    earlier = gathered(tmp_path / "earlier", "1.0.0")
    assert verify_release(release, SETTINGS, earlier).model.version == "1.0.1"


def test_the_history_of_terminals_does_not_come_by_an_update(release: Path, tmp_path: Path) -> None:
    terminals = gathered(tmp_path / "terminals", "1.1.1")
    with pytest.raises(UpdateUnfitError, match="needs the history of terminals"):
        verify_release(terminals, SETTINGS)
    with pytest.raises(UpdateUnfitError, match="terminals' rows are not kept"):
        verify_release(terminals, SETTINGS, release)
    assert verify_release(terminals, SETTINGS, terminals=True).model.version == "1.1.1"
    # A device that was provisioned with it takes the next one with the same features.
    assert verify_release(terminals, SETTINGS, terminals).model.version == "1.1.1"


def test_rings_that_cannot_serve_it_are_named(release: Path, tmp_path: Path) -> None:
    other = gathered(tmp_path / "other")
    plan = other / "fraud/plan.toml"
    text, count = re.subn(r"lateness_ms *= *[0-9_]+", "lateness_ms = 60000", plan.read_text())
    assert count == 1
    plan.write_text(text)
    with pytest.raises(UpdateUnfitError, match="lateness, ring cap or currency differ"):
        verify_release(other, SETTINGS, release)


def _altered(release: Path) -> None:
    (release / "fraud/1.0.1/model.safetensors").write_bytes(b"\0" * 100)


def _other_engine(release: Path) -> None:
    _rewrite(release, "manifest.json", lambda manifest: manifest.update(engine=99))


def _no_plan(release: Path) -> None:
    (release / "fraud/plan.toml").unlink()


def _bad_plan(release: Path) -> None:
    (release / "fraud/plan.toml").write_text("ring_cap = 0\n")


def _no_bundle(release: Path) -> None:
    (release / "fraud/1.0.1/manifest.json").unlink()


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
    release: Path, tmp_path: Path
) -> None:
    serving = gathered(tmp_path / "serving", "1.0.0")
    golden = serving / "fraud/1.0.0/golden.json"
    golden.write_text("{}")
    # Else a device could not leave a release whose golden rows fail.
    assert verify_release(release, SETTINGS, serving).model.version == "1.0.1"
