"""Reference statistics: the bins of the training days, and other values in the same bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.models.bundles.reference_statistics import (
    BINS,
    ReferenceHistogram,
    histogram,
    reference_of,
)
from stream_scorer.models.commands import report
from stream_scorer.settings import MODELS_DIRECTORY


@given(values=arrays(np.float64, st.integers(0, 300), elements=st.floats(width=64)))
def test_every_value_is_in_one_bin_or_missing(values: np.typing.NDArray[np.float64]) -> None:
    found = histogram(values)
    assert sum(found.counts) + found.missing == len(values)
    assert found.missing == np.isnan(values).sum()
    assert len(found.counts) <= BINS
    bounds = [-np.inf, *found.edges, np.inf]
    for at, count in enumerate(found.counts):
        inside = (values > bounds[at]) & (values <= bounds[at + 1])
        # Only minus infinity is below the first bin.
        inside |= (values == -np.inf) & (at == 0)
        assert count == inside.sum()
    finite = np.isfinite(values).any()
    assert all(found.counts) or not finite or not np.isfinite(values).all()
    assert found.of(values) == found


def test_many_values_are_in_bins_of_equal_size() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    found = histogram(values)
    assert len(found.counts) == BINS
    assert all(990 <= count <= 1_010 for count in found.counts)
    shifted = found.of(values + 1)
    assert shifted.counts[-1] > 3 * found.counts[-1]
    assert sum(shifted.counts) == 20_000


def test_few_values_have_a_bin_each() -> None:
    values = np.array([0.0] * 50 + [1.0] * 30 + [7.0] * 20)
    found = histogram(values)
    assert (found.edges, found.counts) == ((0.0, 1.0), (50, 30, 20))
    assert histogram(np.full(5, 3.0)).counts == (5,)


def test_features_are_listed_by_name() -> None:
    rows = np.array([[0.0, 5.0], [1.0, np.nan]])
    found = reference_of(("NIGHT", "GAP"), rows, np.array([0.1, 0.9]))
    assert found.rows == 2
    assert found.features["NIGHT"].counts == (1, 1)
    assert (found.features["GAP"].counts, found.features["GAP"].missing) == ((1,), 1)
    assert found.score.edges == (0.1,)


@pytest.mark.parametrize(
    ("edges", "counts", "told"),
    [
        ((1.0, 2.0), (1, 1), "2 edges do not divide 2 bins"),
        ((2.0, 2.0), (1, 1, 1), "edges must ascend"),
        ((2.0,), (-1, 1), "greater than or equal to 0"),
        ((float("nan"),), (1, 1), "finite number"),
    ],
)
def test_an_invalid_histogram_is_refused(
    edges: tuple[float, ...], counts: tuple[int, ...], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        ReferenceHistogram(edges=edges, counts=counts)


def test_bundles_of_earlier_releases_have_neither_and_load() -> None:
    manifest = read_manifest(MODELS_DIRECTORY / "fraud" / "1.0.0")
    assert (manifest.licence, manifest.reference) == (None, None)


def test_a_person_sees_shares_between_edges() -> None:
    document = {
        "store": "models",
        "manifest": {
            "licence": None, "features": [],
            "reference": reference_of(
                ("NIGHT",), np.array([[0.0], [0.0], [1.0], [np.nan]]), np.full(4, 0.5)
            ).model_dump(),
        },
    }  # fmt: skip
    rows = dict(report.as_rows(document))
    assert rows["reference NIGHT"] == "67% [0] 33%, 1 missing"
    assert rows["reference score"] == "100%"
    assert rows["licence"] == "-"
