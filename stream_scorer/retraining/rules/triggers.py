"""What starts a retraining, and what holds it back; pure functions of what was read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stream_scorer.retraining.rules.contract import RetrainRules
from stream_scorer.retraining.rules.schedule import next_due

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class MaturedDay:
    """One day of the champion's decisions, all of which have matured.

    Attributes:
        end_ms: End of the day, event time.
        rows: Decisions.
        frauds: Those with the label fraud; of a sample of the customers, those in it.
    """

    end_ms: int
    rows: int
    frauds: int


@dataclass(frozen=True, slots=True)
class LossAlarm:
    """An alarm that the champion's loss has risen.

    Attributes:
        event_id: Of the drift event.
        onset_ms: Likely time of the change, event time.
        detail: What moved, for people.
    """

    event_id: str
    onset_ms: int
    detail: str


@dataclass(frozen=True, slots=True)
class RetrainTrigger:
    """Why a retraining is wanted.

    Attributes:
        kind: What wants it.
        reason: For people.
        onset_ms: Event time from which rows are of the new concept; 0: all are.
    """

    kind: Literal["loss", "schedule", "person"]
    reason: str
    onset_ms: int = 0


@dataclass(frozen=True, slots=True)
class GuardResult:
    """One guard before a retraining.

    Attributes:
        name: The guard.
        passed: Whether it lets the retraining begin.
        value: What was found.
        needed: What it needs.
    """

    name: str
    passed: bool
    value: str
    needed: str


@dataclass(frozen=True, slots=True)
class Situation:
    """What a trainer has read before it decides.

    Attributes:
        now_ms: Time, ms since the epoch.
        champion: NAME:VERSION that decides; empty without a rollout plan.
        days: Matured days of the model's decisions, ascending.
        alarm: Of the champion; None without one.
        asked: Why a person wants it; empty if none does.
        running: Whether a rollout is running.
        faults: Open faults of the data.
        grant: Why the trainer has no valid grant; empty if it has one.
        began_at: When the last retraining began, ms; 0 without one.
        since_ms: When the process began to follow its schedule, ms.
    """

    now_ms: int
    champion: str
    days: Sequence[MaturedDay]
    alarm: LossAlarm | None
    asked: str
    running: bool
    faults: Sequence[str]
    grant: str
    began_at: int
    since_ms: int


def wanted(found: Situation, rules: RetrainRules) -> RetrainTrigger | None:
    """Return what wants a retraining: a person, an alarm or the schedule; None if nothing does.

    Args:
        found: What was read.
        rules: The rules.

    Raises:
        SettingsError: There is a schedule, and the extra ``retrain`` is not installed.
    """
    onset = found.alarm.onset_ms if found.alarm is not None else 0
    if found.asked:
        return RetrainTrigger("person", found.asked, onset)
    if found.alarm is not None:
        return RetrainTrigger("loss", f"{found.alarm.detail} ({found.alarm.event_id})", onset)
    if rules.schedule:
        due = next_due(rules.schedule, max(found.began_at, found.since_ms))
        if due <= found.now_ms:
            return RetrainTrigger("schedule", f"schedule {rules.schedule}")
    return None


def first_day(found: Situation, rules: RetrainRules, onset_ms: int) -> int:
    """Return the event time, ms, of the first row that may be used: the start of a day.

    Args:
        found: Has the matured days, at least one.
        rules: Limit the days.
        onset_ms: Of the trigger.
    """
    days = rules.days
    end = found.days[-1].end_ms
    first = end - (days.train + days.validation + days.test) * _DAY_MS
    if days.since_onset:
        # The day of the change has rows of both concepts.
        first = max(first, -(-onset_ms // _DAY_MS) * _DAY_MS)
    return first


def guards(found: Situation, rules: RetrainRules, onset_ms: int) -> Iterator[GuardResult]:
    """Yield every guard before a retraining; all must pass.

    Args:
        found: What was read.
        rules: The limits.
        onset_ms: Of the trigger.
    """
    first = first_day(found, rules, onset_ms) if found.days else 0
    used = [each for each in found.days if each.end_ms > first]
    frauds = sum(each.frauds for each in used)
    yield GuardResult("champion", bool(found.champion), found.champion or "none", "a rollout plan")
    yield GuardResult(
        "days", len(used) >= rules.least_days, str(len(used)), f"{rules.least_days} matured days"
    )
    yield GuardResult(
        "frauds", frauds >= rules.least_frauds, str(frauds), f"{rules.least_frauds} matured frauds"
    )
    due = found.began_at + round(rules.cooldown_days * _DAY_MS)
    calm = not found.began_at or found.now_ms >= due
    yield GuardResult(
        "cool-down", calm, "over" if calm else f"until {due}", f"{rules.cooldown_days:g} days"
    )
    yield GuardResult(
        "faults", not found.faults, ", ".join(found.faults) or "none", "no open fault of the data"
    )
    yield GuardResult(
        "rollout", not found.running, "running" if found.running else "none", "no running rollout"
    )
    yield GuardResult("grant", not found.grant, found.grant or "valid", "a valid grant")
