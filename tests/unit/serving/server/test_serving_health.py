"""When the API is alive and ready."""

from stream_scorer.serving.server.compose import Composition, ServedPart
from stream_scorer.serving.server.serving_health import HEARTBEAT_SECONDS, ServingHealth
from stream_scorer.telemetry import Stopping
from tests.support.serving.example_part import ExampleGate


def health(part: ServedPart, now: list[float]) -> ServingHealth:
    return ServingHealth(Composition(ExampleGate(), [ServedPart(), part]), lambda: now[0])


def test_ready_while_it_listens_and_its_parts_can_work() -> None:
    reasons: list[str] = []
    degraded = ["half of it"]
    found = health(ServedPart(reasons=lambda: reasons, degraded=lambda: degraded), [0.0])
    assert found.reasons() == ["the server does not listen yet"]
    assert found.degraded() == []
    found.listening()
    assert found.reasons() == []
    assert found.degraded() == ["half of it"]
    reasons.append("no broker")
    assert found.reasons() == ["no broker"]


def test_a_part_that_failed_is_not_ready() -> None:
    def reasons() -> list[str]:
        raise ValueError("the reader ended")

    found = health(ServedPart(reasons=reasons), [0.0])
    found.listening()
    assert found.reasons() == ["ValueError: the reader ended"]


def test_not_ready_while_it_stops() -> None:
    found = health(ServedPart(), [0.0])
    found.listening()
    found(Stopping("SIGTERM"))
    assert found.reasons() == ["stopping: SIGTERM"]
    assert found.live


def test_not_live_without_a_heartbeat() -> None:
    now = [0.0]
    found = health(ServedPart(), now)
    found.listening()
    now[0] = HEARTBEAT_SECONDS
    assert found.live
    now[0] += 1
    assert not found.live
    assert found.reasons() == ["no progress for 11 s"]
    found.heartbeat()
    assert found.live
