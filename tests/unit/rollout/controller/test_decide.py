"""The controller: what moves a rollout, what holds it, and what no verdict can cause."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.rollout.controller.decide import (
    IN_SHADOW,
    Action,
    RolloutProgress,
    asked_at,
    decide,
    progress_of,
    trial_of,
    verdict_due,
)
from stream_scorer.rollout.evidence.collected import Gathering
from stream_scorer.rollout.evidence.guardrail import Judgement, Verdict
from stream_scorer.rollout.evidence.verdicts import (
    CANARY_WAY,
    FAST,
    SHADOW_WAY,
    SLOW,
    Judged,
    Since,
)
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.control_record import write
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from tests.support.effort import examples
from tests.support.rollout.scene import CANARY, CONTROLLER, CONTROLLER_KEY, Writer

RAMP = [{"percent": p, "least_seconds": 60} for p in (5, 25, 100)]
GUARD = {"least_events": 100}
SHADOW: dict[str, Any] = {
    "name": "s", "strategy": "shadow", "salt": "s",
    "versions": {"champion": "fraud:0.1.0", "next": "fraud:0.2.0"},
}  # fmt: skip


def started(base: dict[str, Any] = CANARY, ramp: Any = RAMP, **controller: Any) -> Writer:
    writer = Writer()
    more = {"ramp": ramp} if base["strategy"] == "canary" else {}
    entry = writer.start(
        {**base, **more}, guard=GUARD, controller={"key": CONTROLLER_KEY, **controller}
    )
    assert entry.accepted, entry.refused
    return writer


def judged(
    verdict: Verdict, guard: str = FAST, *, way: str = CANARY_WAY, look: int = 5, revision: int = 9
) -> Judged:
    return Judged(
        way, guard, look, revision, 7, Judgement(verdict, (f"why {verdict}",), {"look": look})
    )


def progress(
    fast: Verdict | Judged | None = Verdict.CONTINUE,
    slow: Verdict | Judged | None = None,
    **changed: Any,
) -> RolloutProgress:
    way = changed.pop("way", CANARY_WAY)
    found = RolloutProgress(
        60_000,
        Since(0, 100, 100),
        judged(fast, way=way) if isinstance(fast, Verdict) else fast,
        judged(slow, SLOW, way=way) if isinstance(slow, Verdict) else slow,
    )
    return replace(found, **changed)


def obey(writer: Writer, action: Action) -> None:
    """Write the command with the controller's key; every reader must accept it."""
    assert action.command is not None
    write_by_controller(writer, *action.command)


def write_by_controller(writer: Writer, kind: CommandKind, body: StrictModel) -> None:
    state = writer.log.state
    entry = writer.take(write(state.sequence + 1, state.head, kind, body, 5, CONTROLLER))
    assert entry.refused == ""


def told(action: Action) -> tuple[CommandKind | None, str]:
    return action.kind, action.reasons[0]


def test_a_finished_stage_without_harm_moves_to_the_next() -> None:
    writer = started()
    action = decide(writer.log.state, progress())
    assert told(action) == (CommandKind.STEP, "stage 0 has lasted 60 s")
    obey(writer, action)
    assert writer.log.state.stage == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"clock_ms": 59_999}, "stage 0 has lasted 59 s, less than 60"),
        ({"since": Since(0, 99, 100)}, "stage 0 has 99 events in an arm, fewer than 100"),
        ({"since": Since(0, 100, 0)}, "stage 0 has 0 events in an arm, fewer than 100"),
        ({"since": None}, "the newest revision has decided nothing yet, or no look was taken"),
        ({"fast": None}, "the newest revision has decided nothing yet, or no look was taken"),
        ({"fast": judged(Verdict.CONTINUE, revision=0)}, "stage 0 has had no look yet"),
        ({"fast": judged(Verdict.NO_DATA)}, "the fast guard reports NO_DATA"),
        ({"fast": judged(Verdict.INVALID)}, "the fast guard reports INVALID"),
        ({"slow": judged(Verdict.INVALID, SLOW)}, "the slow guard reports INVALID"),
        ({"slow": judged(Verdict.INCONCLUSIVE, SLOW)}, "the slow guard reports INCONCLUSIVE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_condition_holds_the_rollout(changed: dict[str, Any], why: str) -> None:
    action = decide(started().log.state, progress(**changed))
    assert told(action) == (None, why)
    assert action.command is None


def test_missing_labels_hold_no_step_and_prevent_a_promotion() -> None:
    assert decide(started().log.state, progress(slow=Verdict.NO_DATA)).kind is CommandKind.STEP
    writer = started(ramp=[{"percent": 5}])
    action = decide(writer.log.state, progress(slow=Verdict.NO_DATA))
    assert told(action) == (None, "the candidate waits for the slow guard to promote it")


@pytest.mark.parametrize("guard", ["fast", "slow"])
def test_harm_rolls_back_immediately_and_permanently(guard: str) -> None:
    writer = started()
    given: dict[str, Any] = {guard: Verdict.ROLL_BACK}
    early = progress(**given, clock_ms=0, since=None)
    action = decide(writer.log.state, early)
    assert told(action) == (CommandKind.ROLLBACK, "why ROLL_BACK")
    obey(writer, action)
    again = decide(writer.log.state, progress(slow=Verdict.PROMOTE))
    assert told(again) == (None, "nothing is rolled out")


def test_harm_rolls_back_a_paused_or_pending_rollout() -> None:
    writer = started(manual=["step"])
    writer.accept("pause")
    assert told(decide(writer.log.state, progress())) == (None, "the rollout is paused")
    assert decide(writer.log.state, progress(Verdict.ROLL_BACK)).kind is CommandKind.ROLLBACK
    writer.accept("resume")
    obey(writer, decide(writer.log.state, progress()))
    assert told(decide(writer.log.state, progress())) == (None, "a step waits for an answer")
    assert decide(writer.log.state, progress(Verdict.ROLL_BACK)).kind is CommandKind.ROLLBACK


def test_a_pending_rollback_replaces_a_pending_step() -> None:
    writer = started(manual=["step", "rollback"])
    obey(writer, decide(writer.log.state, progress()))
    waits = writer.log.state.pending
    assert waits is not None
    obey(writer, decide(writer.log.state, progress(Verdict.ROLL_BACK)))
    pending = writer.log.state.pending
    assert pending is not None
    assert pending.kind is CommandKind.ROLLBACK
    again = decide(writer.log.state, progress(Verdict.ROLL_BACK))
    assert told(again) == (None, "a rollback waits for an answer")
    late = writer.give("approve", proposal=waits.sequence)
    assert "does not wait for an answer" in late.refused
    writer.accept("approve", proposal=pending.sequence)
    assert not writer.log.state.running


@pytest.mark.parametrize("guard", [FAST, SLOW])
def test_harm_seen_in_shadow_counts_in_the_canary(guard: str) -> None:
    ramp = [{"percent": 0}, {"percent": 25}, {"percent": 50}]
    writer = started(ramp=ramp)
    writer.accept("step", stage=1)
    trial = trial_of(writer.log.state)
    assert trial is not None
    found = Gathering(trial)
    found.follow(writer.log.routings)
    revision = writer.log.state.revision
    assert found.way_of(revision) == CANARY_WAY

    def say(way: str, verdict: Verdict) -> RolloutProgress:
        found._ways[way].last[guard] = judged(verdict, guard, way=way)
        return progress_of(found, revision, 7)

    say(CANARY_WAY, Verdict.CONTINUE)
    # A good verdict in shadow moves no canary, and an inconclusive one there holds none.
    for verdict in (Verdict.PROMOTE, Verdict.INCONCLUSIVE):
        last = say(SHADOW_WAY, verdict)
        assert {each.way for each in (last.fast, last.slow) if each} == {CANARY_WAY}
    told_now = say(SHADOW_WAY, Verdict.ROLL_BACK)
    assert decide(writer.log.state, told_now).kind is CommandKind.ROLLBACK
    (shown,) = (each for each in (told_now.fast, told_now.slow) if each)
    due = verdict_due(writer.log.state, shown)
    assert due is not None
    assert (due.verdict, due.numbers[IN_SHADOW]) == (Verdict.ROLL_BACK, 1.0)
    write_by_controller(writer, CommandKind.VERDICT, due)
    assert verdict_due(writer.log.state, shown) is None
    both = say(CANARY_WAY, Verdict.ROLL_BACK)
    assert {each.way for each in (both.fast, both.slow) if each} == {CANARY_WAY}


def test_arms_that_are_not_fair_halves_do_not_roll_back() -> None:
    for found in (
        progress(Verdict.INVALID, Verdict.ROLL_BACK), progress(Verdict.ROLL_BACK, Verdict.INVALID)
    ):  # fmt: skip
        action = decide(started().log.state, found)
        assert action.kind is None
        assert action.reasons[0].endswith("guard reports INVALID")


def test_the_slow_guard_promotes_from_any_stage_of_the_ramp() -> None:
    action = decide(started().log.state, progress(slow=Verdict.PROMOTE))
    assert told(action) == (CommandKind.PROMOTE, "why PROMOTE")
    assert action.body is not None
    assert action.body.model_dump()["arm"] == "canary"


def test_a_promotion_needs_the_fast_guards_too() -> None:
    action = decide(started().log.state, progress(Verdict.NO_DATA, Verdict.PROMOTE))
    assert told(action) == (None, "the fast guard reports NO_DATA")


def test_a_ramp_in_shadow_begins_and_is_not_skipped() -> None:
    writer = started(ramp=[{"percent": 0, "least_seconds": 60}, {"percent": 5}])
    found = progress(slow=Verdict.PROMOTE, way=SHADOW_WAY)
    assert decide(writer.log.state, found).kind is CommandKind.STEP
    assert decide(writer.log.state, replace(found, clock_ms=0)).kind is None


def test_a_shadow_without_a_ramp_is_promoted_by_the_slow_guard() -> None:
    writer = started(SHADOW)
    assert decide(writer.log.state, progress(way=SHADOW_WAY)).kind is None
    action = decide(writer.log.state, progress(slow=Verdict.PROMOTE, way=SHADOW_WAY))
    obey(writer, action)


@pytest.mark.parametrize(
    ("controller", "found", "why"),
    [
        ({"up_to": 5.0}, progress(), "the plan lets its controller go up to 5 %, not to 25 %"),
        (
            {"up_to": 25.0}, progress(slow=Verdict.PROMOTE),
            "the plan lets its controller go up to 25 %, and a promotion is all",
        ),
        (
            {"may": ["rollback"]}, progress(),
            "the plan does not let its controller step",
        ),
        (
            {"may": ["step"]}, progress(Verdict.ROLL_BACK),
            "the plan does not let its controller rollback",
        ),
    ],
    ids=["step", "promote", "may not step", "may not roll back"],
)  # fmt: skip
def test_the_plans_limits_hold(
    controller: dict[str, Any], found: RolloutProgress, why: str
) -> None:
    action = decide(started(**controller).log.state, found)
    assert told(action) == (None, why)


def test_an_approval_is_requested_once_per_look() -> None:
    writer = started(manual=["step"])

    def ask(look: int) -> Action:
        asked = asked_at(writer.log.entries, writer.log.state.plan_revision)
        found = judged(Verdict.CONTINUE, look=look)
        return decide(writer.log.state, progress(fast=found), asked)

    def tell(look: int) -> None:
        due = verdict_due(writer.log.state, judged(Verdict.CONTINUE, look=look))
        assert due is not None
        write_by_controller(writer, CommandKind.VERDICT, due)

    tell(5)
    action = ask(5)
    assert action.command is not None
    assert action.command[0] is CommandKind.PROPOSE
    obey(writer, action)
    pending = writer.log.state.pending
    assert pending is not None
    assert (pending.kind, pending.reason) == (
        CommandKind.STEP,
        "stage 0 has lasted 60 s; why CONTINUE",
    )
    writer.accept("reject", proposal=pending.sequence)
    assert told(ask(5)) == (None, "the step was proposed, and nothing was looked at since")
    tell(6)
    obey(writer, ask(6))
    pending = writer.log.state.pending
    assert pending is not None
    writer.accept("approve", proposal=pending.sequence)
    assert writer.log.state.stage == 1
    # Another stage needs another approval, even at the same look.
    again = ask(6)
    assert again.command is not None
    assert again.command[0] is CommandKind.PROPOSE


def test_a_rollout_without_a_guard_is_left_alone() -> None:
    writer = Writer()
    assert told(decide(writer.log.state, progress())) == (None, "nothing is rolled out")
    writer.start({**CANARY, "ramp": RAMP})
    assert told(decide(writer.log.state, progress())) == (None, "the plan names no controller")
    several = {**SHADOW, "versions": {**SHADOW["versions"], "other": "fraud:0.3.0"}}
    action = decide(started(several).log.state, progress())
    assert told(action) == (None, "strategy shadow with 2 candidates is not judged")


def test_a_verdict_is_written_once_and_never_after_a_later_look() -> None:
    writer = started()

    def due(verdict: Verdict, look: int, way: str = CANARY_WAY) -> bool:
        said = verdict_due(writer.log.state, judged(verdict, look=look, way=way))
        if said is not None:
            assert said.numbers[IN_SHADOW] == (way == SHADOW_WAY)
            write_by_controller(writer, CommandKind.VERDICT, said)
        return said is not None

    assert due(Verdict.NO_DATA, 3)
    assert not due(Verdict.NO_DATA, 3)
    assert not due(Verdict.CONTINUE, 2)
    assert due(Verdict.CONTINUE, 4)
    assert due(Verdict.INCONCLUSIVE, 4)
    # Looks in shadow have a separate count.
    assert due(Verdict.NO_DATA, 1, SHADOW_WAY)


VERDICT = st.sampled_from([None, *Verdict])


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(
        st.tuples(VERDICT, VERDICT, st.integers(0, 130), st.integers(0, 200)),
        min_size=1, max_size=12,
    ),
    st.sampled_from([5.0, 25.0, 100.0]),
    st.sets(st.sampled_from(["step", "promote", "rollback"])),
)  # fmt: skip
def test_nothing_moves_without_a_verdict_that_allows_it(
    said: list[tuple[Verdict | None, Verdict | None, int, int]], up_to: float, may: set[str]
) -> None:
    writer = started(may=sorted(may), up_to=up_to)
    over = False
    for fast, slow, seconds, events in said:
        found = progress(fast, slow, clock_ms=1_000 * seconds, since=Since(0, events, events))
        before = writer.log.state
        action = decide(before, found)
        if action.command is None:
            continue
        kind, _ = action.command
        assert not over
        assert kind.value in may
        # Every reader checks the same limits and refuses commands outside the plan.
        obey(writer, action)
        after = writer.log.state
        if kind is CommandKind.STEP:
            assert fast is Verdict.CONTINUE
            assert slow not in {Verdict.ROLL_BACK, Verdict.INVALID, Verdict.INCONCLUSIVE}
            assert seconds >= 60
            assert events >= 100
            assert after.stage == before.stage + 1
            assert after.plan is not None
            assert after.plan.ramp[after.stage].percent <= up_to
        elif kind is CommandKind.PROMOTE:
            assert (fast, slow) == (Verdict.CONTINUE, Verdict.PROMOTE)
            assert up_to == 100.0
            over = True
        else:
            assert Verdict.ROLL_BACK in {fast, slow}
            assert Verdict.INVALID not in {fast, slow}
            over = True
