"""A gateway follows the rollout: its plan judges, and its policy gives the provisional outcome."""

import asyncio
import json
import os
import signal
import time
from typing import Any

import pytest

from stream_scorer.errors import RolloutError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.settings import Settings
from tests.support.rollout.live_scene import Scene, scene
from tests.support.rollout.versions import OLD, models
from tests.support.serving.fake_scorers import request

pytestmark = pytest.mark.kafka

__all__ = ["models", "scene"]

ALONE: dict[str, Any] = {"strategy": "champion", "versions": {"champion": OLD}}
SECONDS = 60.0


@pytest.fixture
def days() -> int:
    return 1


def body(number: int) -> dict[str, Any]:
    return {
        "transaction_id": f"t{number}", "event_time": time.time_ns() // 1_000_000,
        "customer_id": f"c{number}", "terminal_id": "s", "amount_minor": 1_250, "currency": "EUR",
    }  # fmt: skip


def test_a_gateway_follows_the_rollout(scene: Scene) -> None:
    kafka = scene.kafka

    def gateway(timeout_ms: int) -> DecisionService:
        serving = {"decisions": {"timeout_ms": timeout_ms}}
        settings = Settings(kafka=kafka, serving=serving)
        return DecisionService(settings, Deployment(follow=True), lambda _: None)

    async def without_a_plan() -> None:
        async with gateway(1_000):
            pass

    with pytest.raises(RolloutError, match="no rollout plan decides"):
        asyncio.run(without_a_plan())
    first = scene.plan(**ALONE)

    async def scenario() -> None:
        async with gateway(20_000) as service:
            asked = request(body(1), arrived=time.perf_counter())
            found = json.loads((await service.ask(asked)).body)
            assert found["plan_revision"] == first
            second = scene.plan(**ALONE, shared={"policy": {"on_timeout": "BLOCK"}})
            deadline, number = time.monotonic() + SECONDS, 1
            while found["plan_revision"] != second:
                assert time.monotonic() < deadline
                number += 1
                asked = request(body(number), arrived=time.perf_counter())
                found = json.loads((await service.ask(asked)).body)
            parts = service.gateway._parts
            while parts.provisional() != "BLOCK":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        async with gateway(100) as service:
            os.kill(process.pid, signal.SIGSTOP)
            late = await service.ask(request(body(0), arrived=time.perf_counter()))
            assert late.status == 202
            assert json.loads(late.body)["provisional_outcome"] == "BLOCK"

    with scene.scorer() as process:
        process.wait_ready()
        asyncio.run(scenario())
        os.kill(process.pid, signal.SIGCONT)
