"""The numpy kernel has the stream's bits: margins, scores, outcomes, for every kind of model."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.core.decision.policy import Thresholds, decide
from stream_scorer.edge.export.golden_rows import results
from stream_scorer.edge.native.check import as_results
from stream_scorer.edge.native.image import RESULT, ImageError
from stream_scorer.edge.native.portable import ImageScorer
from tests.support.edge.edge_models import (
    NO_POLICY,
    SEGMENTED,
    EdgeCase,
    case_of,
    ensembles,
    random_cases,
    segments,
)


def expected(case: EdgeCase) -> NDArray[np.void]:
    count = len(case.rows)
    none = np.zeros((count, 0), np.uint16)
    return results(case.predictor, case.rows, NO_POLICY, (), np.zeros(count, np.int64), none)


def compare(case: EdgeCase) -> int:
    """Compare all results; return how many rows the model took."""
    want = expected(case)
    made = as_results(ImageScorer(case.image).decide(case.rows))
    for name in RESULT.names or ():
        assert made[name].tobytes() == want[name].tobytes(), name
    return int((want["failed"] == 0).sum())


@pytest.mark.parametrize("kind", list(ensembles()))
def test_every_kind_of_body_has_the_streams_bits(kind: str) -> None:
    assert compare(case_of(ensembles()[kind])) > 0


def test_random_models_have_the_streams_bits() -> None:
    taken = [compare(case_of(model, rows=200)) for model in random_cases(0, 60)]
    assert sum(taken) > 5_000
    assert sum(count > 0 for count in taken) > 50


def test_a_row_has_the_same_bits_in_any_chunk() -> None:
    case = case_of(ensembles()["32-bit masks"], rows=9_000)
    scorer = ImageScorer(case.image)
    whole, alone = scorer.decide(case.rows), scorer.decide(case.rows[4_090:4_100])
    assert whole.score[4_090:4_100].tobytes() == alone.score.tobytes()


def test_outcomes_are_those_of_the_thresholds() -> None:
    case = case_of(ensembles()["weights"])
    found = ImageScorer(case.image).decide(case.rows)
    good = ~found.failed
    told = decide(found.score[good], Thresholds(0.5, 0.8))
    assert found.outcome[good].tolist() == told.tolist()
    assert set(told.tolist()) == {0, 1, 2}
    assert found.failed.any()
    assert set(found.outcome[~good]) == {1}
    assert set(found.model_outcome[~good]) == {3}


def some_events(count: int) -> tuple[NDArray[np.int64], NDArray[np.uint16], list[list[str | None]]]:
    numbers = np.random.default_rng(3)
    amounts = numbers.choice([0, 1_999, 2_000, 50_000, 50_001, 10**9], count)
    values = np.column_stack([
        numbers.integers(0, len(field.values) + 1, count) for field in SEGMENTED.fields
    ]).astype(np.uint16)  # fmt: skip
    texts: list[list[str | None]] = [
        [field.values[n] if n < len(field.values) else None for n in column]
        for field, column in zip(SEGMENTED.fields, values.T.tolist(), strict=True)
    ]
    return amounts, values, texts


def test_segments_are_the_first_that_fit() -> None:
    case = case_of(ensembles()["walked"], SEGMENTED)
    amounts, values, texts = some_events(len(case.rows))
    want = results(case.predictor, case.rows, SEGMENTED, segments(), amounts, values)
    found = as_results(ImageScorer(case.image).decide(case.rows, amounts, texts))
    assert found.tobytes() == want.tobytes()
    assert set(want["segment"].tolist()) == {-1, 0, 1, 2, 3}


def test_booleans_and_unknown_values_are_understood() -> None:
    scorer = ImageScorer(case_of(ensembles()["weights"], SEGMENTED).image)
    assert scorer.policy_fields == ("channel", "trusted", "country")
    rows = np.zeros((4, 4))
    found = scorer.decide(
        rows, np.array([100, 100, 100, 100]),
        [["POS", "ECOM", None, "POS"], [True, None, False, False], ["FR", "FR", "Å", "DE"]],
    )  # fmt: skip
    assert found.segment.tolist() == [1, 3, 2, -1]


def test_what_is_missing_for_the_policy_is_refused() -> None:
    scorer = ImageScorer(case_of(ensembles()["weights"], SEGMENTED).image)
    with pytest.raises(ValueError, match="amount"):
        scorer.decide(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="channel, trusted, country"):
        scorer.decide(np.zeros((1, 4)), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="4 features"):
        scorer.decide(np.zeros((1, 3)))


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_image_is_refused(length: int) -> None:
    data = case_of(ensembles()["weights"]).image
    with pytest.raises(ImageError, match=r"truncated|not a table image"):
        ImageScorer(data[:length])


def test_a_damaged_image_is_refused() -> None:
    data = bytearray(case_of(ensembles()["weights"]).image)
    data[-100] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        ImageScorer(bytes(data))


def test_an_image_of_another_interface_is_refused() -> None:
    data = bytearray(case_of(ensembles()["weights"]).image)
    data[8] = 2
    with pytest.raises(ImageError, match="interface 2"):
        ImageScorer(bytes(data))


def test_names_are_kept() -> None:
    model = ensembles()["weights"]
    assert ImageScorer(case_of(model).image).feature_names == (
        "feature_0", "feature_1", "feature_2", "feature_3",
    )  # fmt: skip
