import math
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from stream_scorer.client.features import FeatureNames, store_settings
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.settings import MODELS_DIRECTORY, Models

MANIFEST = read_manifest(find(FolderStore(MODELS_DIRECTORY), "fraud:1.0.0"))
NAMES = [str(spec["name"]) for spec in MANIFEST.features]


def batch(*rows: tuple[str, str, tuple[float, ...]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "model": [model for model, _, _ in rows],
            "model_version": [version for _, version, _ in rows],
            "features": [struct.pack(f"<{len(each)}d", *each) for _, _, each in rows],
        }
    )


def test_without_a_store_features_are_named_by_position() -> None:
    names = FeatureNames(None)
    records = batch(("a", "1.0.0", (1.0, 2.0)), ("b", "1.0.0", (3.0,)), ("a", "1.0.0", ()))
    assert names.rows(records) == [
        {"feature_0": 1.0, "feature_1": 2.0}, {"feature_0": 3.0}, {},
    ]  # fmt: skip
    columns = {name: column.to_pylist() for name, column in names.columns(records).items()}
    assert columns == {"feature_0": [1.0, 3.0, None], "feature_1": [2.0, None, None]}


def test_with_a_store_they_have_the_names_of_the_manifest() -> None:
    values = tuple(float(at) for at in range(len(NAMES) - 1))
    names = FeatureNames(store_settings(MODELS_DIRECTORY))
    (row,) = names.rows(batch(("fraud", "1.0.0", (*values, math.nan))))
    assert list(row) == NAMES
    assert list(row.values())[:-1] == list(values)
    (*_, last) = names.columns(batch(("fraud", "1.0.0", (*values, math.nan)))).values()
    assert last.null_count == 0
    assert math.isnan(last[0].as_py())


@pytest.mark.parametrize(
    ("version", "width", "told"),
    [
        ("9.9.9", len(NAMES), "model fraud:9.9.9: not in"),
        ("../../x", len(NAMES), "not a reference"),
        ("1.0.0", 1, "features, a decision of it 1"),
    ],
)
def test_a_version_without_its_names_is_refused(version: str, width: int, told: str) -> None:
    names = FeatureNames(store_settings(str(MODELS_DIRECTORY)))
    with pytest.raises(ModelError) as refused:
        names.rows(batch(("fraud", version, (0.0,) * width)))
    assert told in str(refused.value)


def test_bytes_that_are_not_numbers_are_refused() -> None:
    records = pa.RecordBatch.from_pydict(
        {"model": ["m"], "model_version": ["1.0.0"], "features": [bytes(9)]}
    )
    with pytest.raises(ModelError, match="9 bytes, not a multiple of 8"):
        FeatureNames(None).rows(records)


@pytest.mark.parametrize("told", ["a/b", Path("a/b"), Models(directory=Path("a/b"))])
def test_a_store_is_named_by_folder_or_settings(told: str | Path | Models) -> None:
    assert store_settings(told) == Models(directory=Path("a/b"))


def test_a_store_is_named_by_url() -> None:
    assert store_settings("memory://bundles").url == "memory://bundles"
