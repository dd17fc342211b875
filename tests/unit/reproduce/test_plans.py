"""The plan for decisions that were made without a rollout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.file_url import FileUrl
from stream_scorer.models.stores.cache import FileCache
from stream_scorer.models.stores.remote import UrlStore
from stream_scorer.models.stores.store import BundleStore, FolderStore, PlanMissingError
from stream_scorer.reproduce.plans import RecordedPlans


def in_a_folder(root: Path) -> BundleStore:
    return FolderStore(root)


def at_a_url(root: Path) -> BundleStore:
    url = FileUrl(f"file://{root}", "models.url", "bundles")
    files, path = url.open(lasting=False)
    return UrlStore(url, files, path, FileCache(root.with_name("cache")))


STORES = pytest.mark.parametrize("store", [in_a_folder, at_a_url])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "fraud"
    folder.mkdir(parents=True)
    return folder


@STORES
def test_without_a_plan_file_it_is_the_default_plan(
    model: Path, store: Callable[[Path], BundleStore]
) -> None:
    assert RecordedPlans(store(model.parent)).pinned("fraud") == Plan()


@STORES
def test_a_plan_file_counts(model: Path, store: Callable[[Path], BundleStore]) -> None:
    (model / "plan.toml").write_text("revision = 6\n")
    assert RecordedPlans(store(model.parent)).pinned("fraud") == Plan(revision=6)


@STORES
@pytest.mark.parametrize("data", [b"revision = \xff", b"revision = -1\n", b"revision\n"])
def test_a_plan_file_that_cannot_be_read_stops(
    model: Path, store: Callable[[Path], BundleStore], data: bytes
) -> None:
    (model / "plan.toml").write_bytes(data)
    with pytest.raises(SettingsError, match="plan"):
        RecordedPlans(store(model.parent)).pinned("fraud")


@pytest.mark.parametrize("name", ["plan.toml", "policy.toml"])
def test_a_link_to_nothing_is_not_a_missing_plan(model: Path, name: str) -> None:
    (model / "plan.toml").write_text("revision = 6\n")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to("nowhere")
    with pytest.raises(SettingsError, match=rf"{name}: No such file"):
        RecordedPlans(FolderStore(model.parent)).pinned("fraud")


def test_a_plan_file_that_is_named_must_be_there(model: Path) -> None:
    plans = RecordedPlans(FolderStore(model.parent), model / "other.toml")
    with pytest.raises(PlanMissingError, match=r"other\.toml: No such file"):
        plans.pinned("fraud")
