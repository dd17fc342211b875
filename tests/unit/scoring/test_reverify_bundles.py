"""A deployed bundle is verified again while it decides: on request, and at intervals."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from stream_scorer.core.exploring.draws import NO_KEYS
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import Bundle, load_bundle, verify_again
from stream_scorer.models.bundles.read_files import LocalFolder
from stream_scorer.models.stores.deployment import Deployment, load_models
from stream_scorer.scoring.process import _pinned
from stream_scorer.scoring.reverify_bundles import BundleWatch
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from stream_scorer.telemetry import Event, ModelVerified, VersionsExpected

SECONDS = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    shutil.copytree(MODELS_DIRECTORY / "fraud", tmp_path / "fraud")
    return tmp_path


@pytest.fixture
def bundle(store: Path) -> Bundle:
    return load_bundle(store / "fraud" / "1.0.0")


def place(bundle: Bundle) -> Path:
    assert isinstance(bundle.folder, LocalFolder)
    return bundle.folder.path


class Told:
    """Collects the reports of a watch, and lets a test wait for them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Event] = SimpleQueue()

    def __call__(self, event: Event) -> None:
        self._queue.put(event)

    def next(self) -> tuple[str, str, str]:
        event = self._queue.get(timeout=SECONDS)
        assert isinstance(event, ModelVerified)
        return event.version, event.cause, event.refusal

    @property
    def silent(self) -> bool:
        try:
            self._queue.get(timeout=0.2)
        except Empty:
            return True
        return False


def changed(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def another_of_the_same_name(directory: Path) -> None:
    """Replace the bundle by another complete one with correct hashes."""
    manifest = directory / "manifest.json"
    text = manifest.read_text()
    assert text.count('"rule": "') == 1
    manifest.write_text(text.replace('"rule": "', '"rule": "not '))
    load_bundle(directory)


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    ("model.skops is not the file", lambda at: changed(at / "model.skops")),
    ("golden.json is missing", lambda at: (at / "golden.json").unlink()),
    ("extra.json is not in the manifest", lambda at: (at / "extra.json").touch()),
    ("manifest.json is not the one that was loaded", another_of_the_same_name),
    ("manifest.json cannot be read", shutil.rmtree),
]


@pytest.mark.parametrize(("why", "damage"), DAMAGE)
def test_a_bundle_that_a_start_would_refuse_is_refused(
    bundle: Bundle, why: str, damage: Callable[[Path], object]
) -> None:
    verify_again(bundle)
    damage(place(bundle))
    with pytest.raises(ModelError, match=why) as raised:
        verify_again(bundle)
    assert "\n" not in str(raised.value)


def test_each_requested_check_is_reported_and_so_is_a_fix(bundle: Bundle) -> None:
    told = Told()
    path = place(bundle) / "model.skops"
    whole = path.read_bytes()
    with BundleWatch(0) as watch:
        watch.add(bundle, told)
        watch.begin(told)
        assert told.next() == ("1.0.0", "start", "")
        # Without an interval, it only acts on a request.
        assert told.silent
        watch.ask()
        assert told.next() == ("1.0.0", "signal", "")
        changed(path)
        watch.ask()
        _, cause, refusal = told.next()
        assert cause == "signal"
        assert "model.skops" in refusal
        path.write_bytes(whole)
        watch.ask()
        assert told.next() == ("1.0.0", "signal", "")


def test_it_also_verifies_at_intervals(bundle: Bundle) -> None:
    told = Told()
    with BundleWatch(0.01) as watch:
        watch.add(bundle, told)
        watch.begin(told)
        told.next()
        assert told.next() == ("1.0.0", "time", "")
        shutil.rmtree(place(bundle))
        while not (last := told.next())[2]:
            assert last[1] == "time"
        assert "cannot be read" in last[2]


def test_a_request_before_the_bundle_is_loaded_is_answered_then(bundle: Bundle) -> None:
    told = Told()
    with BundleWatch(0) as watch:
        watch.ask()
        watch.add(bundle, told)
        watch.begin(told)
        assert [told.next()[1], told.next()[1]] == ["start", "signal"]


def test_a_check_that_fails_for_any_reason_does_not_pass(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bundle) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("stream_scorer.scoring.reverify_bundles.verify_again", broken)
    told = Told()
    with BundleWatch(0) as watch:
        watch.add(bundle, told)
        watch.begin(told)
        told.next()
        for _ in range(2):
            watch.ask()
            assert "MemoryError: no room" in told.next()[2]


def test_a_version_that_is_warmed_is_verified_too(store: Path) -> None:
    settings = Settings(models=Models(directory=store))
    loaded = load_models(settings, Deployment("fraud:1.0.0", warm="fraud:1.1.0"))
    changed(store / "fraud" / "1.1.0" / "model.skops")
    told = Told()
    with BundleWatch(0) as watch:
        for each in loaded.bundles:
            watch.add(each, told)
        watch.begin(told)
        assert [told.next()[0], told.next()[0]] == ["1.0.0", "1.1.0"]
        watch.ask()
        (first, _, fine), (second, _, refused) = told.next(), told.next()
        assert (first, fine, second) == ("1.0.0", "", "1.1.0")
        assert "model.skops" in refused


def test_closed_it_ends(bundle: Bundle) -> None:
    with BundleWatch(0) as watch:
        watch.add(bundle, Told())
        watch.begin(Told())
        (thread,) = (one for one in threading.enumerate() if one.name == "bundle-watch")
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_the_version_that_the_command_names_is_expected(store: Path) -> None:
    told: list[Event] = []
    settings = Settings(models=Models(directory=store))
    with BundleWatch(0) as watch:
        deployment = Deployment("fraud:1.0.0", warm="fraud:1.1.1")
        _pinned(settings, deployment, told.append, watch, NO_KEYS)
    assert VersionsExpected(("fraud:1.0.0",)) in told
