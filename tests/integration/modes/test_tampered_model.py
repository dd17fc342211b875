"""A scorer whose bundle is changed reports it, and continues with the loaded model."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.settings import MODELS_DIRECTORY, Kafka
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    committed,
    everything_once,
    feed,
    outcome,
    same,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

MANY = transactions(days=300)
MODEL = {"model": "fraud", "version": "1.0.0"}
REFUSED = "stream_scorer_model_refused"
VERIFICATIONS = "stream_scorer_model_verifications_total"


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings(session_timeout_ms=6_000))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS_DIRECTORY, tmp_path / "models"))


def start(
    settings: Kafka, store: Path, name: str, *arguments: str, seconds: float = 0.0
) -> ScorerProcess:
    variables = {
        "STREAM_SCORER_MODELS__DIRECTORY": str(store),
        "STREAM_SCORER_MODELS__VERIFY_SECONDS": str(seconds),
    }
    return ScorerProcess(settings, store.parent / name, *arguments, variables=variables)


def tamper(store: Path) -> Callable[[], object]:
    """Flip one bit of the model; return a function that flips it back."""
    path = store / "fraud" / "1.0.0" / "model.skops"
    whole = path.read_bytes()
    middle = len(whole) // 2

    def replace(data: bytes) -> None:
        # A scorer that looks meanwhile finds no half of a file.
        made = store.parent / path.name
        made.write_bytes(data)
        made.replace(path)

    replace(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    return lambda: replace(whole)


def lines(scorer: ScorerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in scorer.said.splitlines() if line.startswith("{")]


def verified(scorer: ScorerProcess, cause: str, result: str, **more: str) -> float:
    return scorer.metric(VERIFICATIONS, cause=cause, result=result, **more) or 0


def decides_on(settings: Kafka, scorer: ScorerProcess) -> None:
    at = committed(settings)
    wait_until(
        lambda: all(end > at[p] for p, end in committed(settings).items()),
        lambda: f"all partitions commit: {scorer.said}",
    )


@pytest.mark.thorough
def test_a_signal_refuses_a_changed_bundle_and_scoring_continues(
    settings: Kafka,
    store: Path,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with start(settings, store, "log", "--from", "earliest") as scorer:
            scorer.wait_ready()
            assert scorer.metric(REFUSED, **MODEL) == 0
            restore = tamper(store)
            # There was no request, and timed checks are off.
            decides_on(settings, scorer)
            assert scorer.metric(REFUSED, **MODEL) == 0
            scorer.send(signal.SIGHUP)
            wait_until(lambda: verified(scorer, "signal", "refused") == 1, "refused")
            assert scorer.metric(REFUSED, **MODEL) == 1
            ready, reasons = scorer.probe()
            assert (ready, reasons) == (True, [])
            (degraded,) = scorer.degraded()
            assert degraded.startswith("model fraud:1.0.0 would be refused: ")
            assert "model.skops" in degraded
            with start(settings, store, "other") as other:
                assert other.wait() == 3, other.said
                assert "model.skops" in other.said
            decides_on(settings, scorer)
            restore()
            scorer.send(signal.SIGHUP)
            wait_until(lambda: verified(scorer, "signal", "whole") == 1, "whole again")
            assert scorer.metric(REFUSED, **MODEL) == 0
            assert scorer.degraded() == []
            records = source.stop()
            wait_until(lambda: committed(settings) == source.ends, lambda: f"all: {scorer.said}")
            scorer.send(signal.SIGTERM)
            assert scorer.wait() == 0, scorer.said
            told = [(line["event"], line["level"], line["cause"]) for line in lines(scorer)]
            assert told == [
                ("model_refused", "error", "signal"), ("model_verified", "info", "signal")
            ]  # fmt: skip
    finally:
        source.stop()
    found = outcome(settings)
    everything_once(found, records)
    # Each decision is made by the original bundle.
    undisturbed = kafka_topics(kafka_settings())
    expected, _ = scored(undisturbed, feed(undisturbed, records))
    expected.rings.clear()
    same(found, expected)


def test_a_timed_check_finds_a_changed_bundle_and_its_fix(settings: Kafka, store: Path) -> None:
    feed(settings, transactions()[:40])
    with start(settings, store, "log", "--from", "earliest", seconds=0.2) as scorer:
        scorer.wait_ready()
        wait_until(lambda: verified(scorer, "time", "whole") > 0, "it looks")
        restore = tamper(store)
        wait_until(lambda: scorer.metric(REFUSED, **MODEL) == 1, "noticed")
        assert scorer.probe() == (True, [])
        seen = verified(scorer, "time", "refused")
        wait_until(lambda: verified(scorer, "time", "refused") > seen + 2, "it goes on looking")
        restore()
        wait_until(lambda: scorer.metric(REFUSED, **MODEL) == 0, "mended")
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said
        # A repeated finding is logged once.
        assert [line["event"] for line in lines(scorer)] == ["model_refused", "model_verified"]


@pytest.mark.thorough
def test_a_parent_passes_the_signal_on_to_each_of_its_workers(settings: Kafka, store: Path) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with start(settings, store, "log", "--workers", "2", "--from", "earliest") as parent:
            parent.wait_ready()
            restore = tamper(store)
            parent.send(signal.SIGHUP)

            def each(result: str) -> list[float]:
                return [verified(parent, "signal", result, worker=str(n)) for n in range(2)]

            wait_until(lambda: each("refused") == [1, 1], lambda: f"both refuse: {parent.said}")
            assert [parent.metric(REFUSED, worker=str(n)) for n in range(2)] == [1, 1]
            assert parent.probe() == (True, [])
            assert [what.split(":")[0] for what in parent.degraded()] == ["worker 0", "worker 1"]
            decides_on(settings, parent)
            restore()
            parent.send(signal.SIGHUP)
            wait_until(lambda: each("whole") == [1, 1], lambda: f"whole for both: {parent.said}")
            assert parent.degraded() == []
            records = source.stop()
            wait_until(lambda: committed(settings) == source.ends, lambda: f"all: {parent.said}")
            parent.send(signal.SIGTERM)
            assert parent.wait() == 0, parent.said
    finally:
        source.stop()
    everything_once(outcome(settings), records)
