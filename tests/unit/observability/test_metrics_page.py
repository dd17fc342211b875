"""docs/METRICS.md is what the declarations say, and each metric has a unit and a text."""

import pytest

from stream_scorer.telemetry.event import Gauge, Metric
from tests.layout.metrics_page import (
    PAGE,
    UnitUnknownError,
    page,
    sections_without_title,
    unit_of,
)
from tests.support.metric_names import declared


def test_the_page_is_that_of_the_declarations() -> None:
    assert PAGE.read_text() == page(), "python -m tests.layout.metrics_page"
    assert sections_without_title() == set()


@pytest.mark.parametrize("metric", declared(), ids=lambda metric: metric.name)
def test_a_metric_has_a_unit_a_text_and_a_line(metric: Metric) -> None:
    assert unit_of(metric)
    assert metric.text.endswith(".") or "see" in metric.text.lower()
    assert f"| `{metric.name}` |" in PAGE.read_text()


def test_a_name_without_a_unit_is_refused() -> None:
    with pytest.raises(UnitUnknownError, match="turbo_encabulation"):
        unit_of(Gauge("turbo_encabulation", "What it is."))
