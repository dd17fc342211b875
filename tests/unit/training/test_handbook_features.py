"""The handbook's features by our engine equal those of an oracle, for its entire data set."""

import numpy as np
import pyarrow as pa
import pytest

from bench.handbook import agreement
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.training.features import FEATURES
from stream_scorer.training.fold import fold
from tests.oracle.handbook import (
    CUSTOMER_FEATURES,
    TERMINAL_FEATURES,
    customer_features,
    followed_by_a_tie,
    terminal_features,
)


@pytest.mark.thorough
def test_polars_agrees_with_every_row_but_ties_within_a_second(published: pa.Table) -> None:
    manifest = read_manifest(MODELS_DIRECTORY / "fraud" / "1.0.0")
    features = compile_features(manifest.features, Plan())
    folded = fold(published, features, Plan())
    assert folded.rows.tolist() == list(range(published.num_rows))
    assert features.names == CUSTOMER_FEATURES
    expected = customer_features(published).to_numpy()
    far = np.abs(folded.features - expected) > 1e-9
    # The event's own columns are always equal.
    assert not far[:, :3].any()
    differs = far.any(axis=1)
    assert differs.mean() <= 0.001
    # Polars counts later rows of the same second, which the stream has not seen.
    assert np.array_equal(differs, followed_by_a_tie(published).to_numpy())
    assert differs.sum() == 29


@pytest.mark.thorough
def test_all_terminals_columns_are_the_oracles_in_every_row(published: pa.Table) -> None:
    features = compile_features(FEATURES, Plan())
    assert features.names == (*CUSTOMER_FEATURES, *TERMINAL_FEATURES)
    folded = fold(published, features, Plan(), published["is_fraud"].to_numpy())
    ours = folded.features[:, len(CUSTOMER_FEATURES) :]
    theirs = terminal_features(published).to_numpy()
    assert agreement(ours, theirs) == 1
    # The compared columns are not trivial.
    assert ours[:, 2].mean() > 20
    assert np.count_nonzero(ours[:, 5]) > 100_000


def test_the_oracle_of_terminals_by_hand() -> None:
    day = 86_400_000
    times = [0, 1 * day, 2 * day, 8 * day, 8 * day + 1, 9 * day, 37 * day]
    table = pa.table(
        {
            "event_time": pa.array(times, pa.timestamp("ms")),
            "terminal_id": ["x", "x", "y", "x", "x", "y", "x"],
            "is_fraud": [True, False, True, False, True, False, False],
        }
    )
    found = terminal_features(table)
    assert found.columns == list(TERMINAL_FEATURES)
    assert found["TERMINAL_ID_NB_TX_1DAY_WINDOW"].to_list() == [0, 0, 0, 1, 1, 1, 0]
    assert found["TERMINAL_ID_RISK_1DAY_WINDOW"].to_list() == [0, 0, 0, 0, 0, 1, 0]
    assert found["TERMINAL_ID_NB_TX_7DAY_WINDOW"].to_list() == [0, 0, 0, 2, 2, 1, 0]
    assert found["TERMINAL_ID_RISK_30DAY_WINDOW"].to_list() == [0, 0, 0, 0.5, 0.5, 1, 1 / 3]


def test_the_oracle_itself_by_hand() -> None:
    day, hour = 86_400_000, 3_600_000
    times = [0, 1, day, day, 8 * day - 1, 31 * day + hour]
    table = pa.table(
        {
            # Beginning on a Saturday at six in the morning.
            "event_time": pa.array([2 * day + 6 * hour + t for t in times], pa.timestamp("ms")),
            "customer_id": ["a", "b", "a", "a", "a", "a"],
            "amount_minor": [100, 700, 300, 250, 50, 10],
        }
    )
    found = customer_features(table)
    assert found.columns == list(CUSTOMER_FEATURES)
    assert found["TX_AMOUNT"].to_list() == [1.0, 7.0, 3.0, 2.5, 0.5, 0.1]
    assert found["TX_DURING_WEEKEND"].to_list() == [1, 1, 1, 1, 1, 0]
    assert found["TX_DURING_NIGHT"].to_list() == [1, 1, 1, 1, 1, 0]
    assert found["CUSTOMER_ID_NB_TX_1DAY_WINDOW"].to_list() == [1, 1, 2, 2, 1, 1]
    assert found["CUSTOMER_ID_NB_TX_7DAY_WINDOW"].to_list() == [1, 1, 3, 3, 3, 1]
    assert found["CUSTOMER_ID_NB_TX_30DAY_WINDOW"].to_list() == [1, 1, 3, 3, 4, 2]
    assert found["CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW"].to_list() == [1, 7, 2.75, 2.75, 0.5, 0.1]
    assert followed_by_a_tie(table).to_list() == [False, False, True, False, False, False]
