"""Outages that no transaction causes: an unreachable registry, and a failing or slow model."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.devkafka import processes
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.models.stores.deployment import Deployment, Loaded, load_models
from stream_scorer.observability.health import Health
from stream_scorer.ports import Float64
from stream_scorer.scoring import process as scorer
from stream_scorer.settings import Kafka, Registry, Settings
from stream_scorer.telemetry import (
    DependencyBack,
    DependencyUnavailable,
    Event,
    ModelFailed,
    PartitionsRevoked,
)
from tests.support.faults.process import COMMAND, wait_until
from tests.support.faults.reference_run import (
    Outcome,
    everything_once,
    feed,
    same,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

RECORDS = transactions()[:1_200]


@pytest.fixture(scope="module")
def scene(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Any:
    def make(**overrides: Any) -> tuple[Kafka, dict[int, int]]:
        kafka = kafka_topics(kafka_settings(**overrides))
        return kafka, feed(kafka, RECORDS)

    return make


@pytest.fixture(scope="module")
def undisturbed(scene: Any) -> Outcome:
    found, _ = scored(*scene())
    everything_once(found, RECORDS)
    return found


class Predictor:
    """The shipped model with a defect.

    Args:
        real: The model's own predictor.
        before: Called with each batch of features before they are scored; may raise.
    """

    def __init__(self, real: Any, before: Callable[[Float64], None]) -> None:
        self.feature_count = real.feature_count
        self._real = real
        self._before = before

    def scores(self, features: Float64) -> Float64:
        self._before(features)
        return np.asarray(self._real.scores(features))

    def raw(self, features: Float64) -> Float64:
        return np.asarray(self._real.raw(features))

    def attributions(self, features: Float64) -> Any:
        return self._real.attributions(features)


@pytest.fixture
def model_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Float64], None]], None]:
    def install(before: Callable[[Float64], None]) -> None:
        def load_broken(settings: Settings, deployment: Deployment) -> Loaded:
            loaded = load_models(settings, deployment)
            broken = Predictor(loaded.model.predictor, before)
            return replace(loaded, model=replace(loaded.model, predictor=broken))

        monkeypatch.setattr(scorer, "load_models", load_broken)
        # The warm-up would score made-up rows, for which the model must not fail.
        monkeypatch.setattr(scorer, "warm", lambda *_: None)

    return install


def test_rows_that_the_model_fails_for_are_reviewed(
    scene: Any, undisturbed: Outcome, model_that: Callable[..., None]
) -> None:
    # Few rows: a model that fails for a large share of a batch pauses.
    odd = {at for at in undisturbed.decisions if at[0] == 0 and 100 <= at[1] < 105}
    rows = {undisturbed.decisions[at]["features"] for at in odd}

    def fail(features: Float64) -> None:
        if any(tuple(row) in rows for row in features.tolist()):
            raise ValueError("a row that it cannot take")

    model_that(fail)
    found, heard = scored(*scene(), batch=300)
    for at, decision in found.decisions.items():
        expected = undisturbed.decisions[at]
        if at in odd:
            assert np.isnan(decision["score"])
            assert (decision["decision"], decision["reasons"]) == ("REVIEW", ["MODEL_ERROR"])
            assert decision["features"] == expected["features"]
        else:
            assert decision == expected
    assert 0 < len(odd) == sum(event.rows for event in heard.of(ModelFailed))
    assert found.dead_letters == undisturbed.dead_letters


@pytest.mark.thorough
def test_a_model_that_fails_for_every_row_pauses_until_it_works(
    scene: Any, undisturbed: Outcome, model_that: Callable[..., None]
) -> None:
    broken = True

    def fail(_: Float64) -> None:
        if broken:
            raise ValueError("nothing goes")

    def told(event: Event) -> None:
        nonlocal broken
        if isinstance(event, DependencyUnavailable):
            broken = False

    model_that(fail)
    found, heard = scored(*scene(), told=told)
    assert [h.name for h in heard.of(DependencyUnavailable)] == ["model"]
    assert heard.of(DependencyBack) == [DependencyBack("model")]
    same(found, undisturbed)


@pytest.mark.thorough
def test_a_scorer_with_a_slow_model_is_not_expelled(
    scene: Any, undisturbed: Outcome, model_that: Callable[..., None]
) -> None:
    slept = False

    def sleep(_: Float64) -> None:
        nonlocal slept
        if not slept:
            slept = True
            time.sleep(8)

    model_that(sleep)
    kafka, ends = scene(session_timeout_ms=6_000, max_poll_interval_ms=6_000)
    found, heard = scored(kafka, ends, model_timeout_ms=200)
    assert slept
    assert heard.of(PartitionsRevoked) == []
    same(found, undisturbed)


def serve_registry(port: int, output: Path) -> subprocess.Popen[bytes]:
    """Start a registry of the shipped schemas; return once it answers."""
    # Both servers use one directory, so that an id means the same schema.
    directory = output.parent / "registered"
    directory.mkdir(exist_ok=True)
    process = processes.start(
        [str(COMMAND), "schemas", "serve", "--writable", "--directory", str(directory), "--port",
         str(port)],
        output,
    )  # fmt: skip

    def answers() -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "the registry answers")
    return process


def test_a_registry_that_is_gone_pauses_and_rejects_nothing(
    scene: Any, undisturbed: Outcome, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    servers = [serve_registry(port, tmp_path / "first")]
    health = Health()
    health.model_loaded()
    unready: list[list[str]] = []

    def hook(stage: str) -> None:
        # Before the first record's schema is requested.
        if stage == "poll" and len(servers) == 1:
            servers[0].kill()
            servers[0].wait()

    def told(event: Event) -> None:
        health(event)
        if isinstance(event, DependencyUnavailable):
            unready.append(health.reasons())
            servers.append(serve_registry(port, tmp_path / "second"))

    url = f"http://127.0.0.1:{port}"
    try:
        # A dead server refuses connections immediately; a live one may be slow on a busy machine.
        found, heard = scored(
            *scene(), hook=hook, told=told, registry=Registry(url=url, timeout_seconds=30)
        )
    finally:
        servers[-1].kill()
        servers[-1].wait()
    assert [h.name for h in heard.of(DependencyUnavailable)] == ["registry"]
    assert any(reason.startswith("paused: registry") for reason in unready[0])
    assert health.ready
    same(found, undisturbed)
