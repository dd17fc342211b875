"""``stream-scorer serve`` follows the rollout: its plan judges and has the provisional outcome."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.rollout.live_scene import Scene, scene
from tests.support.rollout.versions import OLD, models
from tests.support.served.served_api import ApiAnswer, ServedApi

pytestmark = pytest.mark.kafka

__all__ = ["models", "scene"]

ALONE: dict[str, Any] = {"strategy": "champion", "versions": {"champion": OLD}}
NAMES = ("transaction_id", "customer_id", "terminal_id", "event_time", "currency")
MAPPED: dict[str, Any] = {"fields": {name: name for name in NAMES} | {
    "amount": {"path": "amount_minor", "unit": "minor"}}}  # fmt: skip
"""A mapping that reads our own records."""
SECONDS = 60.0
TIMEOUT_MS = 2_000
NO_ROLLOUT = 11


@pytest.fixture
def days() -> int:
    return 1


class Asking:
    """Asks for new transactions, each of a customer of its own."""

    def __init__(self, api: ServedApi) -> None:
        self._api = api
        self._number = 0
        self._deadline = time.monotonic() + SECONDS

    def ask(self) -> ApiAnswer:
        assert time.monotonic() < self._deadline, self._api.said
        self._number += 1
        sent = {
            "transaction_id": f"t{self._number}", "event_time": time.time_ns() // 1_000_000,
            "customer_id": f"c{self._number}", "terminal_id": "s", "amount_minor": 1_250,
            "currency": "EUR",
        }  # fmt: skip
        answer = self._api.call("POST", "/v1/decisions", sent)
        assert answer.status in {200, 202}, answer.body
        return answer

    def until_decided_by(self, revision: int) -> None:
        while self.ask().document.get("plan_revision") != revision:
            pass

    def until_provisional(self, outcome: str) -> None:
        while self.ask().document["provisional_outcome"] != outcome:
            pass


def test_serve_without_a_plan_follows_the_rollout(scene: Scene, tmp_path: Path) -> None:
    serving = {"decisions": {"timeout_ms": TIMEOUT_MS}}
    folders = [tmp_path / name for name in ("early", "api")]
    for folder in folders:
        folder.mkdir()
    with ServedApi(scene.kafka, folders[0], "--decisions", serving=serving) as early:
        assert early.wait() == NO_ROLLOUT
        assert "no rollout plan decides" in early.said
    first = scene.plan(**ALONE)
    with scene.scorer() as scorer:
        scorer.wait_ready()
        with ServedApi(scene.kafka, folders[1], "--decisions", serving=serving) as api:
            api.wait_served()
            asking = Asking(api)
            asking.until_decided_by(first)
            second = scene.plan(**ALONE, shared={"policy": {"on_timeout": "BLOCK"}})
            asking.until_decided_by(second)
            os.kill(scorer.pid, signal.SIGSTOP)
            asking.until_provisional("BLOCK")
            os.kill(scorer.pid, signal.SIGCONT)
            # Meanwhile the gateway prepares what reads its records, and judges by either plan.
            third = scene.plan(**ALONE, shared={"events": MAPPED})
            asking.until_decided_by(third)
            assert api.stop(30) == 0, api.said
