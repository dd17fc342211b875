"""Bundles are found in a store by name and version."""

from pathlib import Path

import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import MANIFEST
from stream_scorer.models.bundles.read_files import LocalFolder
from stream_scorer.models.stores.choose_version import finder
from stream_scorer.models.stores.store import FolderStore, Stored


class Counted(FolderStore):
    """A store that counts how often it is listed."""

    listed = 0

    def bundles(self) -> list[Stored]:
        self.listed += 1
        return super().bundles()


def test_a_finder_lists_the_store_once(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        (tmp_path / "fraud" / version).mkdir(parents=True)
        (tmp_path / "fraud" / version / MANIFEST).touch()
    store = Counted(tmp_path)
    find = finder(store)
    for reference, version in (("fraud:1.9.0", "1.9.0"), ("fraud", "1.10.0")):
        folder = find(reference)
        assert isinstance(folder, LocalFolder)
        assert folder.shown == str(tmp_path / "fraud" / version)
    with pytest.raises(ModelError, match=r"model fraud:2\.0\.0: not in .*") as missing:
        find("fraud:2.0.0")
    assert "there are: fraud:1.0.0, fraud:1.9.0, fraud:1.10.0" in str(missing.value)
    with pytest.raises(ModelError, match=r"model '\.\./x': not a reference"):
        find("../x")
    assert store.listed == 1


def test_a_store_that_is_not_there_has_no_finder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        finder(FolderStore(tmp_path / "none"))
