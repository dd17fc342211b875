"""What metrics cost: the gates, and the scorer that keeps none."""

import sys

import pytest
from prometheus_client import CollectorRegistry

from bench.drift_steps.cost import PAIRS_LEAST
from bench.lag_steps import cost, unmetered
from stream_scorer import telemetry as events
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.render import Renderer
from stream_scorer.processes import run_process

FINE = {"share_lower": cost.SHARE_MOST, "pairs": PAIRS_LEAST}


def test_a_cost_or_too_few_pairs_fail() -> None:
    assert PAIRS_LEAST == 11
    assert cost.gates(FINE) == []
    for change in ({"share_lower": 0.021}, {"share_lower": None}, {"pairs": 10}):
        assert len(cost.gates(FINE | change)) == 1


def test_the_plain_scorer_keeps_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_process, "Renderer", Renderer)
    monkeypatch.setattr(sys, "argv", [])
    unmetered.prepare(["--model", "fraud"])
    registry = CollectorRegistry()
    told = vars(run_process)["Renderer"](registry, process_logger("scorer", "0"))
    told(events.RecordsSkipped("transactions", 5, 0, 9, "unknown"))
    assert list(registry.collect()) == []
    assert sys.argv == ["stream-scorer", "run", "--model", "fraud"]
