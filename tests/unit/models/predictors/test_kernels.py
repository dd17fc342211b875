"""Tables and walks give the bits of a plain evaluation, for nodes with any number of cuts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.models.predictors import leaf_kernels, leaf_masks, walk_kernels
from stream_scorer.models.predictors.compile_all import compile_all
from stream_scorer.models.predictors.parts import Part, ScoringModel
from stream_scorer.models.predictors.predictors import ScoringPredictor, TreeBody
from stream_scorer.models.predictors.trees import TreeEnsemble
from tests.support.effort import examples
from tests.support.models.random_models import cuts_of, ensemble, model, rows_near
from tests.support.models.reference_model import reference_raw, reference_scores

Float64 = NDArray[np.float64]
FEATURES = 4
KERNELS = (
    leaf_kernels.sums, leaf_kernels.fill_table, leaf_kernels.fill_places,
    leaf_kernels.number_leaves, walk_kernels.sums, walk_kernels.sums_by_cuts,
    walk_kernels.attribute, walk_kernels.breadth_first,
)  # fmt: skip
SEEDS = st.integers(0, 2**32 - 1)


def walked(trees: TreeEnsemble) -> TreeBody:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaf_masks, "TABLE_BYTES_MOST", -1)
        body = TreeBody(trees)
    assert body._tables is None
    return body


def expected(trees: TreeEnsemble, rows: Float64) -> bytes:
    return reference_raw(ScoringModel((Part((), trees),), FEATURES), rows).tobytes()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("leaves", [32, 64])
@pytest.mark.parametrize("most_cuts", [1, 4])
@given(seed=SEEDS, trees=st.sampled_from([1, 2, 8, 17, 20]))
@settings(max_examples=examples(20), deadline=None)
def test_tables_and_walks_have_the_reference_bits(
    most_cuts: int,
    leaves: int,
    single: bool,  # noqa: FBT001 a case
    seed: int,
    trees: int,
) -> None:
    made = ensemble(
        seed, trees=trees, leaves=leaves, features=FEATURES, most_cuts=most_cuts, single=single
    )
    assume((made.feature >= 0).any())
    rows = rows_near(made.cuts, seed, 21, FEATURES)
    told = expected(made, rows)
    body = TreeBody(made)
    assert (body._tables is None) == bool((made.feature < 0).all())
    for each in (body, walked(made)):
        assert each._one_cut == bool((made.cut_counts()[made.feature >= 0] == 1).all())
        assert each.sums(rows).tobytes() == told
        alone = [each.sums(rows[at : at + 1]) for at in range(len(rows))]
        assert np.concatenate(alone).tobytes() == told


def test_a_block_of_rows_and_its_rest_have_the_same_bits() -> None:
    made = ensemble(1, trees=40, leaves=31, features=FEATURES, most_cuts=2)
    rows = rows_near(made.cuts, 2, 1_100, FEATURES)
    body, other = TreeBody(made), walked(made)
    told = np.concatenate([body.sums(rows[at : at + 1]) for at in range(len(rows))]).tobytes()
    assert body.sums(rows).tobytes() == told
    assert other.sums(rows).tobytes() == told


def test_deep_trees_are_walked() -> None:
    made = ensemble(3, trees=9, leaves=200, features=FEATURES)
    rows = rows_near(made.cuts, 4, 37, FEATURES)
    body = TreeBody(made)
    assert body._tables is None
    assert body.sums(rows).tobytes() == expected(made, rows)
    assert body.sums(rows[:1]).tobytes() == expected(made, rows[:1])


@pytest.mark.parametrize(
    ("features", "most_cuts", "walks"), [(40, 1, True), (40, 2, False), (3, 1, False)]
)
def test_a_row_alone_walks_where_it_needs_many_lookups(
    features: int,
    most_cuts: int,
    walks: bool,  # noqa: FBT001 a case
) -> None:
    made = ensemble(8, trees=20, leaves=64, features=features, most_cuts=most_cuts)
    rows = rows_near(made.cuts, 9, 21, features)
    body = TreeBody(made)
    assert body._walks_alone == walks
    alone = [body.sums(rows[at : at + 1]) for at in range(len(rows))]
    told = reference_raw(ScoringModel((Part((), made),), features), rows).tobytes()
    assert np.concatenate(alone).tobytes() == body.sums(rows).tobytes() == told


def test_float32_sums_round_after_each_addition() -> None:
    made = ensemble(5, trees=30, leaves=8, features=FEATURES, single=True)
    rows = rows_near(made.cuts, 6, 50, FEATURES)
    sums = TreeBody(made).sums(rows)
    assert (sums.astype(np.float32) == sums).all()
    assert (sums != TreeBody(replace(made, single=False)).sums(rows)).any()


def test_tables_that_are_too_large_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensemble(7, trees=20, leaves=20, features=FEATURES)
    built = leaf_masks.build(made)
    assert built is not None
    monkeypatch.setattr(leaf_masks, "TABLE_BYTES_MOST", built.table.nbytes - 1)
    assert leaf_masks.build(made) is None
    monkeypatch.setattr(leaf_masks, "TABLE_BYTES_MOST", built.table.nbytes)
    monkeypatch.setattr(leaf_masks, "_LINES_MOST", 10)
    assert leaf_masks.build(made) is None


@given(seed=SEEDS)
@settings(max_examples=examples(150), deadline=None)
def test_models_score_as_the_reference_does(seed: int) -> None:
    made = model(seed, FEATURES)
    predictor = ScoringPredictor(made)
    rows = rows_near(cuts_of(made), seed, 11, FEATURES)
    with np.errstate(all="ignore"):
        assert predictor.raw(rows).tobytes() == reference_raw(made, rows).tobytes()
        scores = predictor.scores(rows)
    assert scores.tobytes() == reference_scores(made, rows).tobytes()
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = [predictor.scores(rows[at : at + 1]) for at in range(len(rows))]
    assert np.concatenate(alone).tobytes() == scores.tobytes()


@given(seed=SEEDS)
@settings(max_examples=examples(100), deadline=None)
def test_attributions_add_up_to_the_raw_score(seed: int) -> None:
    made = model(seed, FEATURES)
    predictor = ScoringPredictor(made)
    rows = rows_near(cuts_of(made), seed, 11, FEATURES)
    found, base = predictor.attributions(rows)
    raw = predictor.raw(rows)
    assert found.shape == rows.shape
    scale = np.maximum(1.0, np.maximum(np.abs(raw), np.abs(found).max(axis=1)))
    assert (np.abs(found.sum(axis=1) + base - raw) / scale).max() <= 1e-9


def test_a_float32_sum_of_leaves_alone_is_its_own_base() -> None:
    made = ensemble(8, trees=50, leaves=1, features=FEATURES, single=True)
    predictor = ScoringPredictor(ScoringModel((Part((), made),), FEATURES))
    rows = np.zeros((3, FEATURES))
    found, base = predictor.attributions(rows)
    assert (found == 0).all()
    assert (predictor.raw(rows) == base).all()


def test_every_type_of_model_can_be_compiled_in_advance() -> None:
    compile_all()
    before = {kernel: len(kernel.signatures) for kernel in KERNELS}
    for seed in range(12):
        made = model(seed, FEATURES)
        predictor = ScoringPredictor(made)
        rows = rows_near(cuts_of(made), seed, 11, FEATURES)
        predictor.scores(rows)
        predictor.attributions(rows)
        for most_cuts, leaves, single in ((1, 30, True), (2, 60, False), (1, 80, seed % 2 == 0)):
            TreeBody(
                ensemble(
                    seed, trees=3, leaves=leaves, features=FEATURES, most_cuts=most_cuts,
                    single=single,
                )
            ).sums(rows)  # fmt: skip
    assert {kernel: len(kernel.signatures) for kernel in KERNELS} == before
    assert min(before.values()) >= 1
