"""The shipped model's average precision in the published test week is that of its manifest."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score

from stream_scorer.core.events.plan import Plan
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.training.days import PROTOCOLS, new_cards
from stream_scorer.training.features import FEATURES, read_features
from stream_scorer.training.fold import fold
from tests.support.training.train_cases import fitted, on_test_days

STORE = MODELS_DIRECTORY / "fraud"


def test_the_model_uses_listed_features_and_labels_known_in_time() -> None:
    manifest = load_bundle(STORE / "1.1.0").manifest
    specs, _ = read_features(STORE / "features.toml", Plan())
    assert manifest.features == specs
    assert manifest.features[:15] == FEATURES
    training = manifest.training
    test = on_test_days(training).period
    assert (test.first_day, test.last_day) == (date(2018, 8, 8), date(2018, 8, 14))
    known = test.first_day - timedelta(days=8)
    assert fitted(training).last_day <= known
    assert training.validation.period.last_day <= known


@pytest.mark.thorough
def test_its_average_precision_is_as_stated_and_high_enough(published: pa.Table) -> None:
    bundle = load_bundle(STORE / "1.1.0")
    split = PROTOCOLS["handbook"]
    labels = published["is_fraud"].to_numpy()
    rows = fold(published, bundle.model(Plan()).features, Plan(), labels).features
    day = published["event_time"].cast(pa.int64()).to_numpy() // 86_400_000
    fraud = labels.astype(np.int64)
    test = split.test.holds(day)
    new = new_cards(published["customer_id"].combine_chunks(), day, fraud, split)
    scores = np.zeros(len(fraud))
    scores[test] = bundle.predictor.scores(np.ascontiguousarray(rows[test]))
    told = bundle.manifest.training
    assert told.test_new_cards is not None
    for kept, quality in ((test, on_test_days(told)), (new, told.test_new_cards)):
        assert quality.period.rows == kept.sum()
        found = average_precision_score(fraud[kept], scores[kept])
        assert abs(found - quality.average_precision) < 1e-9
        assert found >= 0.71
