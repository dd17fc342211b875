"""The plans of a rollout: followed through outages; a log that is not complete ends that."""

import queue
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RolloutError, SettingsError, StreamScorerError, UnavailableError
from stream_scorer.serving.following import active_plans
from stream_scorer.serving.following.active_plans import FollowedPlans, PinnedPlan
from stream_scorer.settings import Settings
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Event
from tests.support.serving.fake_scorers import FILES

SECONDS = 60.0
FIRST, SECOND = Plan(), Plan(currencies={"EUR": 3})


class Logs:
    """Both logs: the revisions that are written, and what reading them raises.

    Attributes:
        read: Has an entry for each time that the logs were read.
        closed: How many were closed.
    """

    def __init__(self) -> None:
        self.log = SimpleNamespace(routings={1: SimpleNamespace(shared=FIRST)})
        self.active = {0: 1}
        self.error: StreamScorerError | None = None
        self.read: queue.Queue[None] = queue.Queue()
        self.closed = 0

    def refresh(self) -> None:
        """Read the control log at the start."""

    def poll(self, wait: float) -> None:
        assert wait == 0
        if self.error is not None:
            raise self.error

    def read_all(self) -> None:
        self.read.put(None)

    def last(self) -> dict[int, int]:
        return self.active

    def close(self) -> None:
        self.closed += 1

    def again(self) -> None:
        """Wait until what is written now was read."""
        while not self.read.empty():
            self.read.get_nowait()
        for _ in range(2):
            self.read.get(timeout=SECONDS)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Logs:
    logs = Logs()
    one: Callable[..., Logs] = lambda *_: logs  # noqa: E731 a short fake
    monkeypatch.setattr(active_plans, "ControlLog", one)
    monkeypatch.setattr(active_plans, "ActivationLog", one)
    monkeypatch.setattr(active_plans, "_EVERY_SECONDS", 0.001)
    return logs


class Heard:
    """A listener that keeps events in order."""

    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()

    def __call__(self, event: Event) -> None:
        self.events.put(event)

    def until(self, kind: type[Event]) -> Event:
        while not isinstance(event := self.events.get(timeout=SECONDS), kind):
            pass
        return event


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def followed(logs: Logs, heard: Heard) -> Iterator[FollowedPlans]:
    plans = FollowedPlans(Settings(), FILES, heard)
    yield plans
    plans.close()
    assert logs.closed == 2


def test_a_new_revision_is_followed(logs: Logs, followed: FollowedPlans) -> None:
    assert followed() == (FIRST,)
    logs.log.routings[2] = SimpleNamespace(shared=SECOND)
    logs.again()
    assert followed() == (FIRST, SECOND)
    logs.active = {0: 2}
    logs.again()
    assert followed() == (SECOND,)


@pytest.mark.parametrize("error", [None, UnavailableError("the registry does not answer")])
def test_a_plan_that_reads_otherwise_is_prepared(
    logs: Logs, followed: FollowedPlans, error: StreamScorerError | None
) -> None:
    prepared: list[tuple[Plan, Sequence[Plan]]] = []

    def prepare(plan: Plan) -> None:
        prepared.append((plan, followed()))
        if error is not None:
            raise error

    followed.prepare_with(prepare)
    logs.log.routings[2] = SimpleNamespace(shared=Plan())
    logs.again()
    logs.log.routings[3] = SimpleNamespace(shared=SECOND)
    logs.again()
    logs.active = {0: 3}
    logs.again()
    # Before it may judge, and once.
    assert [plan for plan, _ in prepared] == [SECOND]
    assert SECOND not in prepared[0][1]
    assert followed() == (SECOND,)
    assert followed.failure is None


@pytest.mark.parametrize("kind", [UnavailableError, SettingsError])
def test_an_outage_is_reported_and_ends(
    logs: Logs, followed: FollowedPlans, heard: Heard, kind: type[StreamScorerError]
) -> None:
    logs.error = kind("the broker does not answer")
    event: Any = heard.until(DependencyUnavailable)
    assert event.detail == "the broker does not answer"
    assert followed() == (FIRST,)
    logs.log.routings[2] = SimpleNamespace(shared=SECOND)
    logs.active = {0: 2}
    logs.error = None
    heard.until(DependencyBack)
    assert followed() == (SECOND,)
    assert followed.failure is None


@pytest.mark.parametrize("error", [RolloutError("a newer version wrote it"), KeyError("a bug")])
def test_what_lasts_is_a_failure_not_an_outage(
    logs: Logs, followed: FollowedPlans, heard: Heard, error: Any
) -> None:
    assert followed.failure is None
    logs.error = error
    followed._thread.join(SECONDS)
    assert followed.failure is error
    assert heard.events.empty()
    assert followed() == (FIRST,)


def test_without_a_plan_nothing_is_followed(logs: Logs, heard: Heard) -> None:
    logs.log.routings.clear()
    with pytest.raises(RolloutError, match="no rollout plan decides"):
        FollowedPlans(Settings(), FILES, heard)
    assert logs.closed == 2


def test_a_pinned_plan_never_fails() -> None:
    pinned = PinnedPlan(SECOND)
    assert pinned() == (SECOND,)
    assert pinned.failure is None
