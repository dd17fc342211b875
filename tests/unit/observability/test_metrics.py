import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from stream_scorer import telemetry as events
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ArrayHistogramCollector, create_metric
from stream_scorer.observability.render import Renderer
from stream_scorer.telemetry.event import Metric
from stream_scorer.telemetry.kafka_loop import AGE_BOUNDS, AGE_SLO_SECONDS


def test_counts_like_prometheus_clients_own_histogram() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.exponential(0.2, 3_000), AGE_BOUNDS, [0.0]])
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = ArrayHistogramCollector("age_seconds", "Age.", AGE_BOUNDS, ours)
    other = Histogram("age_seconds", "Age.", buckets=AGE_BOUNDS, registry=theirs)
    for part in np.array_split(values, 7):
        mine.observe(part)
    for value in values:
        other.observe(float(value))

    labels = [*map(str, AGE_BOUNDS), "+Inf"]
    for label in labels:
        sample = ("age_seconds_bucket", {"le": label})
        assert ours.get_sample_value(*sample) == theirs.get_sample_value(*sample) is not None
    assert ours.get_sample_value("age_seconds_count") == len(values)
    assert ours.get_sample_value("age_seconds_sum") == pytest.approx(
        theirs.get_sample_value("age_seconds_sum")
    )
    create_metric = "age_seconds_created"
    assert [line for line in generate_latest(ours).splitlines() if b"_sum" not in line] == [
        line
        for line in generate_latest(theirs).splitlines()
        if b"_sum" not in line and create_metric.encode() not in line
    ]


def test_a_negative_age_counts_as_zero() -> None:
    registry = CollectorRegistry()
    ArrayHistogramCollector("age_seconds", "Age.", (1.0,), registry).observe([-5.0])
    assert registry.get_sample_value("age_seconds_sum") == 0.0
    assert registry.get_sample_value("age_seconds_bucket", {"le": "1.0"}) == 1.0


def test_one_boundary_is_exactly_the_objective() -> None:
    assert AGE_BOUNDS.count(AGE_SLO_SECONDS) == 1
    assert AGE_SLO_SECONDS == 0.1


def declared() -> list[Metric]:
    kinds = (*events.EVENTS, *events.SUPERVISOR_EVENTS, *events.ACCESS_EVENTS)
    return [metric for kind in kinds for metric in kind.metrics()]


def test_a_second_set_on_one_registry_is_refused() -> None:
    registry = CollectorRegistry()
    logger = process_logger("scorer")
    Renderer(registry, logger)
    with pytest.raises(ValueError, match="Duplicated"):
        ArrayHistogramCollector("stream_scorer_age_seconds", "Age.", (1.0,), registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Renderer(registry, logger)


def test_every_metric_is_ours_and_explained() -> None:
    registry = CollectorRegistry()
    for metric in declared():
        create_metric(metric, registry)
    families = list(registry.collect())
    assert len(families) > 20
    for family in families:
        assert family.name.startswith("stream_scorer_")
        assert family.documentation.endswith(".")


def test_a_metric_with_values_to_begin_with_has_one_label() -> None:
    for metric in declared():
        assert not metric.begin or len(metric.labels) == 1
