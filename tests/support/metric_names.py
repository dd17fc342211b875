"""The samples that our processes can have, and their labels, from the declarations."""

import re

from stream_scorer.telemetry import (
    ACCESS_EVENTS,
    EVENTS,
    LAG_EVENTS,
    SCRAPED_EVENTS,
    SUPERVISOR_EVENTS,
)
from stream_scorer.telemetry.event import Counter, Gauge, Metric


def declared() -> list[Metric]:
    """Return every metric of an event."""
    kinds = (*EVENTS, *ACCESS_EVENTS, *LAG_EVENTS, *SCRAPED_EVENTS, *SUPERVISOR_EVENTS)
    return [metric for kind in kinds for metric in kind.metrics()]


def sample_names() -> set[str]:
    """Return the names of all samples."""
    names = {"stream_scorer_ready"}
    for metric in declared():
        name = f"stream_scorer_{metric.name}"
        if isinstance(metric, Counter):
            names.add(f"{name}_total")
        elif isinstance(metric, Gauge):
            names.add(name)
        else:
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def labels_of(sample: str) -> set[str]:
    """Return the labels of a sample."""
    for metric in declared():
        if re.fullmatch(rf"stream_scorer_{metric.name}(_total|_bucket|_sum|_count)?", sample):
            return {*metric.labels, "le", "instance", "job"}
    return {"instance", "job"}
