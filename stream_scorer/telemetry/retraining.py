"""Events of a trainer: its steps, its end, and what holds it back."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

_TRAINER = "Log lines of the trainer"


@dataclass(frozen=True, slots=True)
class RetrainHeld(Event):
    """Whether a retraining is wanted and guards hold it back.

    Attributes:
        trigger: What wants it; empty if nothing does.
        guards: The guards that hold it back.
    """

    trigger: str
    guards: tuple[str, ...]

    HELD = Gauge("retrain_held", "Guards that hold back a retraining that is wanted.")
    LINE = Line("retrain_held", _TRAINER, "info", per=("guards",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.HELD, len(self.guards)
        if self.guards:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class RetrainStepped(Event):
    """A retraining has reached a step.

    Attributes:
        number: Its number.
        step: The step.
        trigger: What started it.
        reason: Why.
    """

    number: int
    step: str
    trigger: str
    reason: str

    RUN = Gauge("retrain_run", "Number of the newest retraining.")
    LINE = Line("retrain_stepped", _TRAINER, "info", per=("number", "step"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.RUN, self.number
        yield self.LINE


@dataclass(frozen=True, slots=True)
class RetrainEnded(Event):
    """A retraining has ended; the champion stays if it failed.

    Attributes:
        number: Its number.
        result: ``done`` or ``failed``.
        reason: Why.
    """

    number: int
    result: str
    reason: str

    ENDED = Counter("retrain_ended", "Retrainings that have ended.", "result")
    LINE = Line("retrain_ended", _TRAINER, per=("number",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ENDED, 1, self.result
        if self.result == "failed":
            yield self.LINE
