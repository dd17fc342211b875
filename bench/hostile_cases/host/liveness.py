"""Computations that do not return."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench.hostile_cases.case import NotThereError, Place, cases, entry
from bench.hostile_cases.host.requests import asked, endpoint, status, until


def _probed(happen: Callable[[Any, Any], object], silent: float = 0.0) -> Callable[[Place], str]:
    """Ask ``/health/live`` after some events."""

    def run(_: Place) -> str:
        module, events = (
            entry("stream_scorer.observability.health"), entry("stream_scorer.telemetry")
        )  # fmt: skip
        now = [1_000.0]
        health = module.Health(clock=lambda: now[0])
        happen(health, events)
        now[0] += silent
        with endpoint(health) as server:
            return status(asked(server.port, b"GET /health/live HTTP/1.0\r\n\r\n"))

    return run


def _hung(health: Any, events: Any) -> None:
    if not hasattr(events, "ComputationHung"):
        raise NotThereError("ComputationHung")
    health.progress() if hasattr(health, "progress") else None
    health(events.ComputationHung(301.0, "core/rings/rings.py:161 fold"))


def _over(health: Any, events: Any) -> None:
    _hung(health, events)
    health(events.ComputationOver())


def _stack(_: Place) -> str:
    """Look for the frames of a thread that hangs."""
    stack_of = entry("stream_scorer.kafka.loop.thread_stacks", "stack_of")
    go, pool = threading.Event(), ThreadPoolExecutor(1)

    def hangs() -> None:
        go.wait(20.0)

    pool.submit(hangs)
    seen = until(lambda: "hangs" in stack_of(pool), 10.0)
    go.set()
    pool.shutdown()
    return "the call is named" if seen else "nothing is named"


def _configured(hang: float) -> Callable[[Place], str]:
    def run(_: Place) -> str:
        settings = entry("stream_scorer.settings")
        if "hang_seconds" not in settings.Scorer.model_fields:
            raise NotThereError("scorer.hang_seconds")
        settings.load_settings({"scorer": {"hang_seconds": hang, "model_timeout_ms": 1_000}})
        return "accepted"

    return run


CASES: Final = cases(
    "liveness", 10,
    ("a batch that is computed for 301 s", "hang", "503", _probed(_hung)),
    ("a batch that came back", "hang", "200", _probed(_over)),
    ("a loop that has not gone round for 31 s", "heartbeat", "503",
     _probed(lambda *_: None, silent=31.0)),
    ("where a hung computation is", "hang", "the call is named", _stack),
    ("a hang_seconds of half a second", "hang-least", "SettingsError: ", _configured(0.5)),
)  # fmt: skip
