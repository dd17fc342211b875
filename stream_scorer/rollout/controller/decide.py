"""The controller's next action: a pure function of the rollout's state and the guards' verdicts.

A step requires CONTINUE, a promotion CONTINUE and PROMOTE, a rollback ROLL_BACK. In all other cases
the controller holds. It does not do what the plan does not allow, and it proposes what a person
approves first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.exploring.draws import explore_table
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.rollout.evidence.collected import Gathering
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.evidence.verdicts import (
    CALLS,
    CANARY_WAY,
    FAST,
    SHADOW_WAY,
    SLOW,
    Judged,
    Since,
    Trial,
)
from stream_scorer.rollout.plan.allowed_commands import refuse_limits
from stream_scorer.rollout.plan.command_kinds import (
    CommandKind,
    Promote,
    Propose,
    Rollback,
    Step,
    VerdictGiven,
)
from stream_scorer.rollout.plan.fold_commands import FoldedRecord
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Strategy
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.rollout.plan.strict_parsing import StrictModel, read

IN_SHADOW = "in_shadow"
"""Name of the number in a verdict that is 1 for a judgement in shadow, and 0 as a canary."""

_REASON_MOST = 2_000


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """The progress of the current routing.

    Attributes:
        clock_ms: Watermark of event time.
        since: When its revision began to decide; None if it has not.
        fast: Last judgement without labels, in the way in which this revision is judged; or in the
            other way, if only that one shows harm.
        slow: Last judgement with labels, likewise.
    """

    clock_ms: int
    since: Since | None = None
    fast: Judged | None = None
    slow: Judged | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """The next action.

    Attributes:
        kind: ``STEP``, ``PROMOTE`` or ``ROLLBACK``; None: hold.
        body: Body of that command.
        propose: Whether it is only proposed, for a person to approve.
        reasons: Why, or why not; one line each.
        numbers: Numbers of the judgement on which it is based.
    """

    kind: CommandKind | None
    body: StrictModel | None
    propose: bool
    reasons: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def command(self) -> tuple[CommandKind, StrictModel] | None:
        """The command to write; None: nothing."""
        if self.kind is None or self.body is None:
            return None
        if not self.propose:
            return self.kind, self.body
        said = self.body.model_dump(mode="json")
        return CommandKind.PROPOSE, read(
            Propose, {"kind": self.kind.value, "body": said, "reason": self.told}
        )

    @property
    def told(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)[:_REASON_MOST]


def progress_of(gathering: Gathering, revision: int, clock_ms: int) -> RolloutProgress:
    """Return the progress of a revision.

    Args:
        gathering: The evidence.
        revision: Revision of the current routing.
        clock_ms: Watermark of event time.
    """
    way = gathering.way_of(revision)
    if way is None:
        return RolloutProgress(clock_ms, gathering.since.get(revision))
    # Labels of transactions that were scored in shadow arrive when the candidate is a canary.
    other = CANARY_WAY if way == SHADOW_WAY else SHADOW_WAY

    def last(guard: str) -> Judged | None:
        here, there = gathering.last(way, guard), gathering.last(other, guard)
        return there if _harmful(there) and not _harmful(here) else here

    return RolloutProgress(clock_ms, gathering.since.get(revision), last(FAST), last(SLOW))


def _harmful(judged: Judged | None) -> bool:
    return judged is not None and judged.judgement.verdict is Verdict.ROLL_BACK


def decide(
    state: RolloutState,
    progress: RolloutProgress,
    asked: Mapping[CommandKind, Mapping[str, int]] | None = None,
) -> Action:
    """Return the next action.

    Args:
        state: The state of the control log.
        progress: The progress of the current routing.
        asked: From :func:`asked_at`.
    """
    plan = state.plan
    if plan is None or not state.running:
        return _hold("nothing is rolled out")
    if plan.controller is None:
        return _hold("the plan names no controller")
    if candidate_of(plan) is None:
        return _hold(
            f"strategy {plan.strategy} with {len(plan.candidates)} candidates is not judged"
        )
    judged = [each for each in (progress.fast, progress.slow) if each is not None]
    # A rollback does not depend on the stage: harm that was shown stays shown.
    wanted = _rolled_back(judged) or _held(state, judged) or _onward(state, plan, progress)
    if wanted.kind is None or wanted.body is None:
        return wanted
    return _within_limits(state, wanted, judged, (asked or {}).get(wanted.kind))


def candidate_of(plan: RolloutPlan) -> str | None:
    """Return the arm that is judged against the champion; None unless there is one candidate."""
    return plan.judged if len(plan.candidates) == 1 else None


def trial_of(state: RolloutState) -> Trial | None:
    """Return the rules by which the current rollout is judged; None if nothing is judged."""
    plan = state.plan
    if plan is None or not state.running or (candidate := candidate_of(plan)) is None:
        return None
    guard, shared = plan.guard, plan.shared_plan(0)
    return Trial(
        began=state.plan_revision,
        salt=plan.salt,
        candidate=candidate,
        limits=guard.limits(),
        costs=guard.costs.bounded(),
        guards=guard.guards(),
        shadow_guards=tuple(each for each in guard.guards() if each.name != CALLS),
        first_look=guard.first_look,
        slow_call_us=guard.slow_call_us,
        minor_per_unit=shared.minor_per_unit,
        deadline_ms=guard.deadline_seconds * 1_000,
        both_ways=plan.strategy is Strategy.CANARY and plan.ramp[0].percent == 0,
        explore=explore_table(shared),
        policy=LabelPolicy.of(read_label_policy(shared.label_policy)),
    )


def verdict_due(state: RolloutState, judged: Judged) -> VerdictGiven | None:
    """Return the verdict to write for a judgement; None if the log has it, or a later one."""
    judgement = judged.judgement
    numbers = {**judgement.numbers, IN_SHADOW: float(judged.way == SHADOW_WAY)}
    told = state.verdicts.get(judged.guard)
    if told is not None:
        said = told.verdict
        then = (said.numbers.get(IN_SHADOW), said.numbers.get("look", -1.0))
        if then[0] == numbers[IN_SHADOW] and (
            judged.look < then[1] or (judged.look == then[1] and said.verdict == judgement.verdict)
        ):
            return None
    reasons = tuple(reason[:_REASON_MOST] for reason in judgement.reasons)
    return VerdictGiven(
        guard="fast" if judged.guard == FAST else "slow",
        verdict=judgement.verdict, reasons=reasons, numbers=numbers,
    )  # fmt: skip


def asked_at(
    entries: Sequence[FoldedRecord], plan_revision: int
) -> dict[CommandKind, dict[str, int]]:
    """Return, by kind of proposal in a rollout, the looks that were in the log at that time.

    A proposal that was answered is not repeated for the same looks.

    Args:
        entries: Entries of the control log.
        plan_revision: Sequence number of the rollout's plan.
    """
    looks: dict[str, int] = {}
    asked: dict[CommandKind, dict[str, int]] = {}
    for entry in entries:
        command = entry.command
        if not entry.accepted or command is None or command.sequence < plan_revision:
            continue
        if isinstance(entry.body, VerdictGiven):
            looks[entry.body.guard] = int(entry.body.numbers.get("look", 0))
        elif isinstance(entry.body, Propose):
            asked[CommandKind(entry.body.kind)] = dict(looks)
        elif command.kind in {CommandKind.STEP, CommandKind.APPROVE}:
            # Proposals of an earlier stage do not count.
            asked = {}
    return asked


def _hold(*reasons: str) -> Action:
    return Action(None, None, False, reasons)


def _rolled_back(judged: Sequence[Judged]) -> Action | None:
    """Return a rollback if harm is shown and the arms can be compared."""
    if any(each.judgement.verdict is Verdict.INVALID for each in judged):
        return None
    for each in judged:
        if _harmful(each):
            reasons, numbers = each.judgement.reasons, each.judgement.numbers
            told = "; ".join(reasons)[:_REASON_MOST]
            return Action(CommandKind.ROLLBACK, Rollback(reason=told), False, reasons, numbers)
    return None


def _held(state: RolloutState, judged: Sequence[Judged]) -> Action | None:
    """Return a hold with its reason, if something forbids the rollout to advance."""
    if state.paused:
        return _hold("the rollout is paused")
    if state.pending is not None:
        return _hold(f"a {state.pending.kind} waits for an answer")
    for each in judged:
        if each.judgement.verdict in {Verdict.INVALID, Verdict.INCONCLUSIVE}:
            verdict = each.judgement.verdict
            return _hold(f"the {each.guard} guard reports {verdict}", *each.judgement.reasons)
    return None


def _onward(state: RolloutState, plan: RolloutPlan, progress: RolloutProgress) -> Action:
    """Return the promotion or step that is due, or why none is."""
    fast = progress.fast
    if progress.since is None or fast is None:
        return _hold("the newest revision has decided nothing yet, or no look was taken")
    if fast.judgement.verdict is not Verdict.CONTINUE:
        verdict = fast.judgement.verdict
        return _hold(f"the fast guard reports {verdict}", *fast.judgement.reasons)
    at_end = state.at_stage is None or state.stage + 1 == len(plan.ramp)
    if (promotion := _promotion(plan, progress.slow, at_end=at_end)) is not None:
        return promotion
    if at_end:
        return _hold("the candidate waits for the slow guard to promote it")
    if lacking := _lacking(state, plan, progress.since, progress.clock_ms, fast):
        return _hold(f"stage {state.stage} {lacking}")
    lasted = (progress.clock_ms - progress.since.clock_ms) // 1_000
    reasons = (f"stage {state.stage} has lasted {lasted} s", *fast.judgement.reasons)
    step = Step(stage=state.stage + 1, reason="; ".join(reasons)[:_REASON_MOST])
    return Action(CommandKind.STEP, step, False, reasons, fast.judgement.numbers)


def _promotion(plan: RolloutPlan, slow: Judged | None, *, at_end: bool) -> Action | None:
    """Return a promotion if the slow guard allows it; in shadow only without further stages."""
    arm = candidate_of(plan)
    if slow is None or arm is None or slow.judgement.verdict is not Verdict.PROMOTE:
        return None
    if slow.way == SHADOW_WAY and not at_end:
        return None
    reasons, numbers = slow.judgement.reasons, slow.judgement.numbers
    body = Promote(arm=arm, reason="; ".join(reasons)[:_REASON_MOST])
    return Action(CommandKind.PROMOTE, body, False, reasons, numbers)


def _lacking(
    state: RolloutState, plan: RolloutPlan, since: Since, clock_ms: int, fast: Judged
) -> str:
    """Return what is missing before the next stage may begin; empty if nothing is."""
    least_ms = plan.ramp[state.stage].least_seconds * 1_000
    if clock_ms - since.clock_ms < least_ms:
        lasted = (clock_ms - since.clock_ms) // 1_000
        return f"has lasted {lasted} s, less than {least_ms // 1_000}"
    # Above half of the customers there is no control, so no events are counted and no step is due.
    count = min(since.canary, since.control)
    if count < plan.guard.least_events:
        return f"has {count} events in an arm, fewer than {plan.guard.least_events}"
    return "has had no look yet" if fast.revision < state.revision else ""


def _within_limits(
    state: RolloutState, wanted: Action, judged: Sequence[Judged], asked: Mapping[str, int] | None
) -> Action:
    """Return the action as the plan allows it: directly, as a proposal, or not at all."""
    plan, kind, body = state.plan, wanted.kind, wanted.body
    if plan is None or plan.controller is None or kind is None or body is None:
        return _hold("the plan names no controller")
    if kind not in plan.controller.manual:
        try:
            refuse_limits(state, kind, body)
        except ValueError as error:
            return replace(_hold(str(error), *wanted.reasons), numbers=wanted.numbers)
        return wanted
    pending = state.pending
    if pending is not None and (
        kind is not CommandKind.ROLLBACK or pending.kind is CommandKind.ROLLBACK
    ):
        # Only a rollback replaces another proposal that has no answer yet.
        return _hold(f"a {pending.kind} waits for an answer", *wanted.reasons)
    if asked is not None and all(each.look <= asked.get(each.guard, 0) for each in judged):
        return _hold(f"the {kind} was proposed, and nothing was looked at since", *wanted.reasons)
    return replace(wanted, propose=True)
