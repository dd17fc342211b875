"""Which plans may judge the next record: the active one of each partition, and those that follow.

A revision begins in each partition by itself. A record is judged before its offset is known, so
another revision than the judging one may decide it. So a record is accepted here if one of the
plans accepts it that may decide it. The scorer has the last word.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import (
    RolloutError,
    SettingsError,
    StreamScorerError,
    UnavailableError,
)
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.settings import Settings
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Listener

_EVERY_SECONDS = 0.5
_LOG = "control log"


class ActivePlans(Protocol):
    """Provides the plans."""

    @property
    def failure(self) -> BaseException | None:
        """Why the plans are no longer followed, for ever. None: they are."""
        ...

    def __call__(self) -> Sequence[Plan]:
        """Return at least one plan, the newest that is active first."""
        ...

    def prepare_with(self, prepare: Callable[[Plan], None]) -> None:
        """Call a function, on a thread, with each further plan before it may judge.

        What it raises is not the plans' failure: who judges by the plan meets the same.
        """
        ...

    def close(self) -> None:
        """Stop following."""
        ...


class PinnedPlan:
    """One plan for all records.

    Args:
        plan: The plan.
    """

    failure: BaseException | None = None

    def __init__(self, plan: Plan) -> None:
        self._plans = (plan,)

    def __call__(self) -> Sequence[Plan]:
        """Return the plan."""
        return self._plans

    def prepare_with(self, prepare: Callable[[Plan], None]) -> None:
        """Do nothing: there is no further plan."""

    def close(self) -> None:
        """Do nothing."""


def plans_of(routings: Mapping[int, Routing], active: Mapping[int, int]) -> tuple[Plan, ...]:
    """Return the plans that may decide a next record; plans that read alike occur once.

    Args:
        routings: Every revision of the control log, by number.
        active: The last revision of each partition that has one.
    """
    # The newest first: a partition without records stays at an older one.
    order = sorted({number for number in active.values() if number in routings}, reverse=True)
    later = [number for number in routings if not order or number > order[0]]
    order += sorted(later, reverse=True)
    found: list[Plan] = []
    for number in order:
        plan = routings[number].shared
        if not any(known.reads_as(plan) for known in found):
            found.append(plan)
    return tuple(found)


class FollowedPlans:
    """The plans of a rollout, followed on a thread.

    Args:
        settings: The cluster, and whose commands count.
        registry: Has the schemas of the two logs.
        listener: Notified while a log cannot be read.

    Attributes:
        failure: What ended the thread: a log is not complete, or a newer version wrote there. The
            plans are those of before. None while it runs.

    Raises:
        RolloutError: A log is not complete, or has no plan.
        UnavailableError: Broker or registry do not answer.
    """

    def __init__(self, settings: Settings, registry: SchemaSource, listener: Listener) -> None:
        self._control = ControlLog(settings)
        self._activations = ActivationLog(settings, registry)
        self._listener = listener
        self.failure: BaseException | None = None
        self._closed = threading.Event()
        self._prepare: Callable[[Plan], None] = lambda _: None
        read_patiently(self._control.refresh, listener)
        read_patiently(self._activations.read_all, listener)
        self._plans = self._found()
        if not self._plans:
            self._close_logs()
            raise RolloutError(
                "no rollout plan decides",
                "start a rollout: stream-scorer rollout start; or, if the scorers have a --model, "
                "name its plan: --plan-of or --plan",
            )
        self._thread = threading.Thread(target=self._run, name="active-plans", daemon=True)
        self._thread.start()

    def __call__(self) -> Sequence[Plan]:
        """Return the plans."""
        return self._plans

    def prepare_with(self, prepare: Callable[[Plan], None]) -> None:
        """See :class:`ActivePlans`."""
        self._prepare = prepare

    def close(self) -> None:
        """Stop following, and close the logs."""
        self._closed.set()
        self._thread.join()
        self._close_logs()

    def _close_logs(self) -> None:
        self._control.close()
        self._activations.close()

    def _found(self) -> tuple[Plan, ...]:
        return plans_of(dict(self._control.log.routings), self._activations.last())

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 a thread that ends would keep an old plan for ever
            self.failure = error

    def _follow(self) -> None:
        out = False
        while not self._closed.wait(_EVERY_SECONDS):
            try:
                self._control.poll(0.0)
                self._activations.read_all()
            except (UnavailableError, SettingsError) as error:
                out = True
                self._listener(DependencyUnavailable(_LOG, str(error)))
                continue
            # No revision ever leaves the log, so there is always a plan.
            found = self._found()
            for plan in found:
                if not any(known is plan or known.reads_as(plan) for known in self._plans):
                    with suppress(StreamScorerError):
                        self._prepare(plan)
            self._plans = found
            if out:
                out = False
                self._listener(DependencyBack(_LOG))


def open_plans(
    settings: Settings,
    deployment: Deployment,
    registry: SchemaSource,
    listener: Listener,
) -> ActivePlans:
    """Return the plans of a deployment.

    Raises:
        RolloutError: The rollout has no plan.
        SettingsError: The plan file is wrong.
        UnavailableError: Broker, registry or store do not answer.
    """
    if deployment.follow:
        return FollowedPlans(settings, registry, listener)
    return PinnedPlan(deployed_plan(settings, deployment))
