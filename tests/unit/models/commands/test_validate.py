"""Golden rows have equal bits under the bundle's libraries, and equal decisions under others."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.commands.validate import Validation, refuse_broken, validate
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS_DIRECTORY / "fraud" / "1.0.0", tmp_path / "fraud" / "1.0.0"))


def changed(
    bundle: Path,
    golden: Callable[[dict[str, Any]], object] = lambda _: None,
    manifest: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Validation:
    """Return the report on a bundle with other golden rows and manifest, and matching hashes."""
    rows = json.loads((bundle / "golden.json").read_text())
    golden(rows)
    data = json.dumps(rows).encode()
    (bundle / "golden.json").write_bytes(data)
    about = json.loads((bundle / "manifest.json").read_text())
    about["files"]["golden.json"] = hashlib.sha256(data).hexdigest()
    manifest(about)
    (bundle / "manifest.json").write_text(json.dumps(about))
    return validate(Settings(models=Models(directory=bundle.parents[1])), "fraud:1.0.0")


def other_libraries(manifest: dict[str, Any]) -> None:
    manifest["libraries"]["scikit_learn"] = "1.2.3"


def one_bit(rows: dict[str, Any]) -> None:
    rows["raw"][5] = float(np.nextafter(rows["raw"][5], 9))
    rows["scores"][5] = float(np.nextafter(rows["scores"][5], 1))


def over_the_threshold(rows: dict[str, Any]) -> None:
    rows["scores"][0] = 0.999


def test_untouched_every_bit_is_equal(bundle: Path) -> None:
    found = changed(bundle)
    assert (found.promise, found.broken, found.flips) == ("bits", "", 0)
    assert found.raw_equal == found.scores_equal == found.rows
    assert found.largest_difference == 0.0
    refuse_broken(found)


def test_one_bit_breaks_the_promise_of_bits(bundle: Path) -> None:
    found = changed(bundle, one_bit)
    assert found.raw_equal == found.scores_equal == found.rows - 1
    assert 0.0 < found.largest_difference < 1e-15
    with pytest.raises(ModelError, match="1 of 64 golden rows have other bits"):
        refuse_broken(found)


def test_other_libraries_may_change_bits_but_not_decisions(bundle: Path) -> None:
    found = changed(bundle, one_bit, other_libraries)
    assert (found.promise, found.broken, found.flips) == ("decisions", "", 0)
    found = changed(bundle, over_the_threshold)
    assert (found.promise, found.flips) == ("decisions", 1)
    with pytest.raises(ModelError, match="1 of 64 golden rows are decided otherwise"):
        refuse_broken(found)
