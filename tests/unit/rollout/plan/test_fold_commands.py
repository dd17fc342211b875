"""The fold of the control log: strategies, refusals, signatures; all readers agree."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream_scorer.core.decision.routing import BUCKETS, Override, Slice, Version
from stream_scorer.errors import RolloutError, SettingsError
from stream_scorer.rollout.plan import command_kinds
from stream_scorer.rollout.plan.allowed_commands import MAY_CHANGE
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.control_record import (
    BODY_BYTES_MOST,
    Authority,
    authority_of,
    write,
)
from stream_scorer.rollout.plan.fold_commands import REASON_MOST, REFUSED_KEPT, Log
from stream_scorer.rollout.plan.rollout_state import Phase
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import key_id
from stream_scorer.settings import Rollout
from tests.support.effort import examples
from tests.support.rollout.scene import (
    CANARY,
    COLOURS,
    CONTROLLER,
    CONTROLLER_KEY,
    OPERATOR,
    SIGNED,
    STRANGER,
    Writer,
    plan,
    trusted,
)

OLD, NEW = Version("fraud", "0.1.0"), Version("fraud", "0.2.0")
LIMITED: dict[str, Any] = {
    "controller": {"key": CONTROLLER_KEY, "may": ["step", "rollback", "promote"], "up_to": 25}
}


@pytest.fixture
def writer() -> Writer:
    return Writer()


def test_a_canary_goes_up_its_ramp_and_is_promoted(writer: Writer) -> None:
    writer.start()
    assert writer.log.state.phase is Phase.RUNNING
    writer.accept("step", stage=1)
    writer.accept("verdict", guard="fast", verdict="CONTINUE", numbers={"look": 3.0})
    writer.accept("step", stage=3, effective_at=5_000)
    writer.accept("promote", arm="canary")
    state = writer.log.state
    assert (state.phase, state.sequence, state.revision) == (Phase.PROMOTED, 5, 5)
    first, second, last, promoted = writer.log.routings.values()
    assert list(writer.log.routings) == [1, 2, 4, 5]
    assert first.slices == (
        Slice("canary", 0, 100), Slice("champion", 100, 9_900), Slice("control", 9_900, BUCKETS),
    )  # fmt: skip
    assert first.versions == {"champion": OLD, "canary": NEW, "control": OLD}
    assert second.share("canary") == second.share("control") == 0.05
    assert (last.slices, last.effective_at) == ((Slice("canary", 0, BUCKETS),), 5_000)
    assert "control" not in last.versions
    assert (promoted.versions, promoted.effective_at) == (
        {"champion": NEW, "previous": OLD}, None,
    )  # fmt: skip
    assert [r.shared.revision for r in writer.log.routings.values()] == [1, 2, 4, 5]
    assert [r.revision for r in writer.log.after(2)] == [4, 5]


def test_a_rollback_is_immediate_and_final(writer: Writer) -> None:
    writer.start(effective_at=9_000)
    writer.accept("rollback", reason="too many alerts")
    routing = writer.log.state.routing
    assert routing is not None
    assert (routing.versions, routing.effective_at, routing.revision) == (
        {"champion": OLD},
        None,
        2,
    )
    over = "the rollout has been rolled back: start another"
    assert writer.refusal("step", stage=1) == over
    assert writer.refusal("promote", arm="canary") == over
    assert writer.refusal("rollback") == over
    assert writer.refusal("pause") == over
    assert writer.refusal("propose", kind="step", body={"stage": 1}) == over
    writer.start(name="again")
    assert writer.log.state.running


def test_a_promotion_can_be_rolled_back(writer: Writer) -> None:
    writer.start()
    writer.accept("promote", arm="canary")
    # The previous version is kept loaded without scoring, like the idle colour.
    promoted = writer.routing
    assert promoted.versions == {"champion": NEW, "previous": OLD}
    assert (promoted.arms, promoted.shadows, promoted.share("previous")) == (("champion",), (), 0.0)
    writer.accept("rollback")
    assert writer.routing.versions == {"champion": OLD}


def test_another_plan_ends_what_a_promotion_keeps_warm(writer: Writer) -> None:
    writer.start()
    writer.accept("promote", arm="canary")
    writer.start({"name": "one", "strategy": "champion", "versions": {"champion": "fraud:0.2.0"}})
    assert writer.routing.versions == {"champion": NEW}


def test_a_way_back_to_the_same_version_keeps_no_second_one(writer: Writer) -> None:
    writer.start(COLOURS)
    writer.accept("promote", arm="blue")
    assert writer.routing.versions == {"champion": OLD}


def test_a_ramp_only_ascends(writer: Writer) -> None:
    writer.start()
    writer.accept("step", stage=2)
    for stage in (0, 1, 2):
        assert "a ramp only ascends, and this is at stage 2" in writer.refusal("step", stage=stage)
    assert "the ramp ends at stage 3; there is no 4" in writer.refusal("step", stage=4)
    assert "strategy canary has no blue and green" in writer.refusal("switch", to="green")
    assert "arm 'champion' is not a candidate; there are canary" in writer.refusal(
        "promote", arm="champion"
    )


def test_a_ramp_may_begin_with_a_shadow(writer: Writer) -> None:
    writer.start(
        versions={"champion": "fraud:0.1.0", "canary": "fraud:0.2.0", "third": "fraud:0.3.0"},
        ramp=[{"percent": 0}, {"percent": 50}],
    )
    writer.accept("step", stage=1)
    shadow, half = writer.log.routings.values()
    assert (shadow.arms, set(shadow.shadows)) == (("champion",), {"canary", "third"})
    assert (half.arms, half.shadows) == (("canary", "control"), ("third",))


def test_colours_switch_and_switch_back(writer: Writer) -> None:
    writer.start(COLOURS)
    writer.accept("switch", to="green")
    assert "green decides already" in writer.refusal("switch", to="green")
    assert "strategy blue-green has no ramp" in writer.refusal("step", stage=1)
    writer.accept("switch", to="blue")
    blue, green, again = writer.log.routings.values()
    assert blue.versions == again.versions == {"champion": OLD, "green": NEW}
    assert green.versions == {"champion": NEW, "blue": OLD}
    assert {r.slices for r in (blue, green)} == {(Slice("champion", 0, BUCKETS),)}
    writer.accept("switch", to="green")
    writer.accept("rollback")
    assert (writer.log.state.colour, writer.routing.versions) == (
        "blue", {"champion": OLD},
    )  # fmt: skip
    writer.start(COLOURS, active="green")
    assert writer.routing.versions == {"champion": NEW, "blue": OLD}
    writer.accept("promote", arm="blue")
    assert writer.routing.versions == {"champion": OLD, "previous": NEW}


def test_fixed_shares_with_challengers_and_an_allow_list(writer: Writer) -> None:
    writer.start(
        {
            "name": "abn", "strategy": "split", "salt": "s",
            "versions": {
                "champion": "fraud:0.1.0", "a": "fraud:0.2.0", "b": "fraud:0.3.0",
                "listed": "fraud:0.4.0", "watching": "fraud:0.5.0",
            },
            "shares": {"champion": 80, "a": 15, "b": 5},
            "overrides": [{"field": "customer_id", "values": ["c1"], "arm": "listed"}],
        }
    )  # fmt: skip
    (routing,) = writer.log.routings.values()
    assert {arm: routing.share(arm) for arm in routing.arms} == {
        "a": 0.15, "b": 0.05, "champion": 0.8, "listed": 0.0,
    }  # fmt: skip
    assert routing.overrides == (Override("customer_id", ("c1",), "listed"),)
    assert routing.shadows == ("watching",)
    writer.accept("promote", arm="b")
    assert writer.log.routings[2].versions == {
        "champion": Version("fraud", "0.3.0"), "previous": OLD,
    }  # fmt: skip


def test_one_version_alone_is_not_a_rollout(writer: Writer) -> None:
    assert writer.refusal("rollback") == "there is no plan yet"
    assert writer.refusal("verdict", guard="fast", verdict="CONTINUE") == "there is no plan yet"
    writer.start({"name": "one", "strategy": "champion", "versions": {"champion": "fraud:0.1.0"}})
    assert writer.log.state.phase is Phase.STEADY
    assert "nothing is rolled out" in writer.refusal("rollback")
    assert "nothing is rolled out" in writer.refusal("pause")


def test_a_paused_rollout_can_only_go_back_or_resume(writer: Writer) -> None:
    writer.start()
    assert writer.refusal("resume") == "is not paused"
    writer.accept("pause")
    assert writer.refusal("pause") == "is paused already"
    for kind, said in (("step", {"stage": 1}), ("promote", {"arm": "canary"})):
        assert "the rollout is paused: resume it first" in writer.refusal(kind, **said)
    writer.accept("verdict", guard="slow", verdict="NO_DATA")
    writer.accept("resume")
    writer.accept("step", stage=1)
    writer.accept("pause")
    writer.accept("rollback")
    assert not writer.log.state.paused


def test_what_was_proposed_waits_for_an_answer(writer: Writer) -> None:
    writer.start(controller={"key": CONTROLLER_KEY, "manual": ["step", "promote"]})
    asked = "the plan has a person approve first: propose the step"
    assert writer.refusal("step", CONTROLLER, stage=1) == asked
    assert "a ramp only ascends" in writer.refusal(
        "propose", CONTROLLER, kind="step", body={"stage": 0}
    )
    assert writer.refusal("approve", proposal=1) == (
        "proposal 1 does not wait for an answer: none does"
    )
    writer.accept("propose", CONTROLLER, kind="step", body={"stage": 1}, reason="all is well")
    pending = writer.log.state.pending
    assert pending is not None
    assert (pending.sequence, pending.kind, pending.reason) == (2, "step", "all is well")
    writer.accept("propose", CONTROLLER, kind="step", body={"stage": 2})
    assert "number 3 does" in writer.refusal("approve", proposal=2)
    assert "does not let its controller approve" in writer.refusal(
        "approve", CONTROLLER, proposal=3
    )
    writer.accept("approve", proposal=3)
    state = writer.log.state
    assert (state.stage, state.revision, state.pending) == (2, 4, None)
    writer.accept("propose", CONTROLLER, kind="promote", body={"arm": "canary"})
    writer.accept("reject", proposal=5)
    assert (writer.log.state.pending, writer.log.state.revision) == (None, 4)
    writer.accept("propose", CONTROLLER, kind="promote", body={"arm": "canary"})
    writer.accept("rollback", CONTROLLER)
    assert writer.log.state.pending is None


def test_a_controller_keeps_to_the_plan(writer: Writer) -> None:
    writer.start(**LIMITED)
    writer.accept("step", CONTROLLER, stage=1)
    assert "advances by one stage, not from 1 to 3" in writer.refusal("step", CONTROLLER, stage=3)
    writer.accept("step", CONTROLLER, stage=2)
    assert "up to 25 %, not to 100 %" in writer.refusal("step", CONTROLLER, stage=3)
    assert "a promotion is all" in writer.refusal("promote", CONTROLLER, arm="canary")
    for kind in ("pause", "resume"):
        assert "the plan does not let its controller" in writer.refusal(kind, CONTROLLER)
    own = plan(**LIMITED).model_dump(mode="json")
    assert "does not let its controller plan" in writer.refusal("plan", CONTROLLER, **own)
    writer.accept("verdict", CONTROLLER, guard="fast", verdict="ROLL_BACK", reasons=["alerts"])
    assert writer.log.state.verdicts["fast"].verdict.reasons == ("alerts",)
    writer.accept("rollback", CONTROLLER)
    writer.start()
    # The new plan names no controller, so its key is unknown.
    assert "is signed by an unknown key" in writer.refusal("rollback", CONTROLLER)


@pytest.mark.parametrize(
    ("strategy", "arm", "why"),
    [
        ("canary", "canary", ""),
        ("canary", "third", "the controller promotes canary, which is judged, not third"),
        ("shadow", "third", "strategy shadow with 2 candidates has none that is judged"),
        ("split", "canary", "strategy split with 2 candidates has none that is judged"),
    ],
)
def test_a_controller_promotes_what_is_judged(
    writer: Writer, strategy: str, arm: str, why: str
) -> None:
    versions = {"champion": "fraud:0.1.0", "canary": "fraud:0.2.0", "third": "fraud:0.3.0"}
    more = {"canary": {"ramp": CANARY["ramp"]}, "split": {"shares": {"champion": 100}}}
    base = {"name": "n", "strategy": strategy, "salt": "s", "versions": versions}
    entry = writer.start({**base, **more.get(strategy, {})}, controller={"key": CONTROLLER_KEY})
    assert entry.accepted
    if why:
        assert writer.refusal("promote", CONTROLLER, arm=arm).startswith(why)
        writer.accept("promote", arm=arm)
    else:
        writer.accept("promote", CONTROLLER, arm=arm)


def test_a_shadows_one_challenger_is_judged_and_promoted(writer: Writer) -> None:
    shadow = {
        "name": "s", "strategy": "shadow", "salt": "s",
        "versions": {"champion": "fraud:0.1.0", "next": "fraud:0.2.0"},
    }  # fmt: skip
    writer.start(shadow, controller={"key": CONTROLLER_KEY, "up_to": 99.99})
    told = "the plan lets its controller go up to 99.99 %, and a promotion is all"
    assert writer.refusal("promote", CONTROLLER, arm="next") == told
    writer.start(shadow, controller={"key": CONTROLLER_KEY})
    writer.accept("promote", CONTROLLER, arm="next")


def test_a_share_limit_below_all_forbids_promotion_and_switch(writer: Writer) -> None:
    writer.start(ramp=[{"percent": 25}], **LIMITED)
    told = "the plan lets its controller go up to 25 %, and a promotion is all"
    assert writer.refusal("promote", CONTROLLER, arm="canary") == told
    writer.start(COLOURS, controller={"key": CONTROLLER_KEY, "may": ["switch"], "up_to": 25})
    told = "the plan lets its controller go up to 25 %, and a switch is all"
    assert writer.refusal("switch", CONTROLLER, to="green") == told


def test_a_controller_rolls_no_promotion_back(writer: Writer) -> None:
    writer.start(controller={"key": CONTROLLER_KEY})
    writer.accept("promote", CONTROLLER, arm="canary")
    assert "the rollout has been promoted" in writer.refusal("rollback", CONTROLLER)
    writer.accept("rollback", OPERATOR)


@pytest.mark.parametrize("name", sorted(set(plan().shared) - {"events"}))
def test_values_that_the_state_depends_on_cannot_change(writer: Writer, name: str) -> None:
    writer.start()
    number = plan().shared[name]
    other = number / 2 if isinstance(number, float) else {"USD": 2}
    if isinstance(number, int):
        other = number - 1
    entry = writer.start(name="next", shared={name: other})
    if name in MAY_CHANGE:
        assert entry.accepted
        assert getattr(writer.routing.shared, name) == other
    elif name == "terminal_wait_ms":
        assert entry.refused == (
            "shared.terminal_wait_ms: scorers read it once, when they begin, and it is 10000: "
            "no plan can change it to 9999"
        )
    else:
        assert entry.refused.startswith(f"shared.{name}: the state rests on ")
        assert entry.refused.endswith(f"and no plan can change it to {other}")
    # The first plan counts, not the previous one.
    assert writer.start(name="back").accepted


def test_a_later_plan_may_change_the_segments(writer: Writer) -> None:
    writer.start(shared={"segments": {"channel": ["POS"]}})
    assert writer.routing.shared.segments == {"channel": ["POS"]}
    assert writer.start(name="next", shared={"segments": {"amount": [5]}}).accepted
    assert writer.routing.shared.segments == {"amount": [5]}
    # A plan without the table has none.
    assert writer.start(name="none", shared={"segments": {}}).accepted
    assert writer.routing.shared.segments == {}


def test_rates_may_change_and_the_base_currency_may_not(writer: Writer) -> None:
    rates = {"base": "EUR", "USD": {"2026-01-01": "0.9"}}
    currencies = {"EUR": 2, "USD": 2}
    assert writer.start(shared={"events": {"rates": rates}, "currencies": currencies}).accepted
    more = {**rates, "JPY": {"2026-01-01": "1/160"}}
    shared = {"events": {"rates": more}, "currencies": {**currencies, "JPY": 0}}
    assert writer.start(name="next", shared=shared).accepted
    assert writer.routing.shared.events == {"rates": more}
    other = {"base": "USD", "EUR": {"2026-01-01": "1.1"}}
    refused = writer.start(name="base", shared={"events": {"rates": other},
                                                "currencies": currencies}).refused  # fmt: skip
    assert refused == (
        "shared.events: the state rests on amounts in EUR/2, and no plan can change them to USD/2"
    )
    plain = writer.start(name="none", shared={"currencies": {"EUR": 2}}).refused
    assert plain.startswith("shared.currencies: the state rests on ")


def test_a_policy_changes_with_a_plan_and_with_nothing_else(writer: Writer) -> None:
    policy = {"default": {"review": 0.2, "block": 0.7}}
    entry = writer.start()
    assert writer.routing.shared.policy == {}
    assert entry.command is not None
    assert json.loads(entry.command.body)["format"] == 1
    assert "policy" not in plan().shared
    entry = writer.start(name="next", shared={"policy": policy})
    assert entry.accepted
    assert entry.command is not None
    # An older program must stop there, instead of ignoring the command.
    assert json.loads(entry.command.body)["format"] == 2
    assert writer.routing.shared.policy == policy
    for kind, body in (("step", {"stage": 1}), ("promote", {"arm": "canary"}), ("rollback", {})):
        writer.accept(kind, **body)
        assert writer.routing.shared.policy == policy
        assert writer.routing.shared.revision == writer.routing.revision
    assert writer.start(name="back").accepted
    assert writer.routing.shared.policy == {}


@pytest.mark.parametrize("default", [(10**400, 1), (0.1, 10**400)])
def test_a_number_too_large_for_a_float_is_refused(default: tuple[float, float]) -> None:
    writer = Writer(Authority())
    body = plan().model_dump(mode="json")
    body["shared"] = {"policy": {"default": dict(zip(("review", "block"), default, strict=True))}}
    command = replace(writer.make("plan", None, **plan().model_dump(mode="json")),
                      body=canonical(body).decode())  # fmt: skip
    refused = writer.take(command).refused
    assert refused.startswith("shared: policy: default: review: 0 < review <= block <= 1 does not")


def test_of_two_writers_one_wins(writer: Writer) -> None:
    writer.start()
    mine, yours = writer.make("step", stage=1), writer.make("rollback")
    assert writer.take(mine).accepted
    lost = writer.take(yours)
    assert lost.refused == "has number 2, and 3 is next: another command came first"
    assert lost.signer is not None
    assert lost.signer.name == "ann"
    # The same command again, as a retrying producer might write it.
    assert writer.take(mine).refused.startswith("has number 2, and 3 is next")
    assert writer.log.state.running


def test_a_command_of_another_log_is_refused(writer: Writer) -> None:
    other = Writer()
    other.start(name="elsewhere")
    writer.start()
    assert writer.take(other.make("rollback")).refused == "does not follow number 1 of this log"


def test_signatures_count(writer: Writer) -> None:
    command = writer.make("plan", **plan().model_dump(mode="json"))
    changes: dict[str, Any] = {
        "sequence": 2, "previous": bytes(31) + b"\1", "kind": "verdict", "at": 5,
        "body": command.body.replace("try 0.2", "try 0.3"), "signature": bytes(64),
    }  # fmt: skip
    for name, value in changes.items():
        forged = writer.take(replace(command, **{name: value}))
        assert forged.refused == f"has no valid signature by ann (key {command.key_id})", name
        assert forged.signer is None
    stranger = writer.make("plan", STRANGER, **plan().model_dump(mode="json"))
    assert writer.take(stranger).refused == f"is signed by an unknown key, {stranger.key_id}"
    assert writer.take(replace(command, key_id="")).refused == "is not signed"
    assert writer.take(replace(stranger, key_id=command.key_id)).refused.startswith(
        "has no valid signature"
    )
    assert writer.take(command).accepted


def test_a_retired_key_counts_up_to_its_last_number() -> None:
    keys = {**trusted("ann", OPERATOR), **trusted("bob", STRANGER)}
    writer = Writer(Authority(keys, {key_id(OPERATOR.public_key()): 2}, required=True))
    writer.start()
    writer.accept("step", stage=1)
    assert writer.refusal("rollback") == "is signed by the key of ann, retired after number 2"
    writer.accept("rollback", STRANGER)


def test_settings_define_whose_commands_count(tmp_path: Path) -> None:
    ann = base64.b64encode(OPERATOR.public_key().public_bytes_raw()).decode()
    (tmp_path / "bob.pub").write_text(CONTROLLER_KEY)
    found = authority_of(
        Rollout(
            operator_keys={"ann": ann, "bob": str(tmp_path / "bob.pub")},
            retired_keys={"bob": 7}, require_signature=True,
        )
    )  # fmt: skip
    assert sorted(key.name for key in found.operators.values()) == ["ann", "bob"]
    assert found.retired == {key_id(CONTROLLER.public_key()): 7}
    assert found.required
    twice = Rollout(operator_keys={"ann": ann, "eve": ann})
    with pytest.raises(SettingsError, match=r"rollout\.operator_keys\.eve: is the key of ann, too"):
        authority_of(twice)
    for wrong, why in (
        ({"require_signature": True}, "would refuse every command"),
        ({"retired_keys": {"ann": 1}}, "retired_keys: ann is not among operator_keys"),
        ({"operator_keys": {"ann": ann}, "retired_keys": {"ann": -1}}, "greater than or equal"),
    ):
        with pytest.raises(ValidationError, match=why):
            Rollout.model_validate(wrong)


def test_an_unsigned_command_counts_if_none_must_be_signed() -> None:
    writer = Writer(Authority(trusted("ann", OPERATOR)))
    command = writer.make("plan", None, **plan(controller={}).model_dump(mode="json"))
    assert "names no key" in writer.take(replace(command, signature=b"x")).refused
    entry = writer.take(command)
    assert entry.signer is not None
    assert (entry.signer.name, entry.signer.operator) == ("nobody", True)
    writer.accept("step", OPERATOR, stage=1)
    assert "unknown key" in writer.refusal("step", STRANGER, stage=2)


def test_where_all_is_signed_a_controller_needs_a_key(writer: Writer) -> None:
    entry = writer.start(controller={})
    assert entry.refused == "controller.key: is empty, and every command must be signed here"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("[]", "is not a JSON object"),
        ('{"format": 1}', "its body is not canonical JSON"),
        ('{"format":1,"format":1}', "is there twice"),
        ('{"format":1,"speed":1}', "speed: unknown key"),
        ('{"format":0}', "format: Input should be 1"),
        ('{"format":1e999}', "not JSON compliant"),
        ('{"reason":"' + "x" * BODY_BYTES_MOST + '"}', "bytes, more than 524288"),
        ("[" * 100_000, "nested deeper than 200 levels"),
    ],
)
def test_a_body_is_read_strictly(body: str, why: str) -> None:
    writer = Writer(Authority())
    writer.take(writer.make("plan", None, **plan().model_dump(mode="json")))
    command = writer.make("pause", None)
    assert why in writer.take(replace(command, body=body)).refused


def test_of_a_refused_record_only_short_fields_are_kept(writer: Writer) -> None:
    writer.start()
    command = writer.make("pause", STRANGER)
    large = replace(
        command, body="x" * 10**6, signature=bytes(10**6), previous=bytes(10**6),
        kind="k" * 10**6, key_id="i" * 10**6,
    )  # fmt: skip
    assert writer.take(large).command == large
    assert writer.take(command).body is None
    limited = writer.give("step", stage=0, reason="y" * 2_000)
    assert limited.body is not None
    writer.log.pass_over(4, "z" * 10**6)
    *_, kept, small, step, none = writer.log.entries
    assert kept.command == replace(
        command, kind="k" * 64, key_id="i" * 64, body="", signature=b"", previous=b""
    )
    assert kept.refused.startswith("is signed by an unknown key, iii")
    assert {len(kept.refused), len(none.refused)} == {REASON_MOST}
    assert (small.offset, small.signer) == (2, None)
    assert (step.refused, step.signer, step.body) == (limited.refused, limited.signer, None)


def test_a_body_over_its_limit_is_not_kept() -> None:
    writer = Writer(Authority())
    writer.take(writer.make("plan", None, **plan().model_dump(mode="json")))
    command = replace(writer.make("pause", None), body=" " * (BODY_BYTES_MOST + 1))
    assert "bytes, more than" in writer.take(command).refused
    kept = writer.log.entries[-1].command
    assert kept is not None
    assert (kept.kind, kept.body) == ("pause", "")


def test_only_the_newest_refused_records_are_kept(writer: Writer) -> None:
    writer.start()
    unsigned = replace(writer.make("pause"), key_id="", signature=b"")
    for _ in range(REFUSED_KEPT + 2):
        assert writer.take(unsigned).refused == "is not signed"
    writer.accept("step", stage=1)
    told = writer.log.entries
    assert [entry.offset for entry in told] == [0, *range(3, REFUSED_KEPT + 4)]
    assert [entry.accepted for entry in told] == [True, *[False] * REFUSED_KEPT, True]
    assert (writer.log.records, writer.log.last_offset) == (REFUSED_KEPT + 4, REFUSED_KEPT + 3)
    second = told[-1].command
    assert writer.log.accepted(2) == second
    for sequence in (0, 3):
        with pytest.raises(KeyError):
            writer.log.accepted(sequence)


def test_a_gap_is_explained_after_any_number_of_refused_records(writer: Writer) -> None:
    commands = [writer.start(), writer.accept("step", stage=1), writer.accept("pause")]
    first, _, third = (entry.command for entry in commands)
    assert first is not None
    assert third is not None
    reader = Log(SIGNED)
    reader.take(0, first)
    for offset in range(1, 12):
        reader.pass_over(offset, "is no command: schema id 9 is unknown")
    unsigned = replace(first, key_id="", signature=b"")
    for offset in range(12, REFUSED_KEPT + 13):
        reader.take(offset, unsigned)
    with pytest.raises(RolloutError, match=r"not a command: offset 1, 2, 3, 4, 5, 6, 7, 8\)"):
        reader.take(REFUSED_KEPT + 13, third)


def test_a_gap_in_the_numbers_means_a_command_is_missing(writer: Writer) -> None:
    records = [writer.give("plan", **plan(**LIMITED).model_dump(mode="json"))]
    records += [writer.accept("step", stage=1), writer.accept("pause")]
    reader = Log(SIGNED)
    for offset, entry in enumerate(records):
        assert entry.command is not None
        if offset == 1:
            # This reader's registry does not know the command's schema.
            reader.pass_over(offset, "is no command: schema id 9 is unknown")
        elif offset == 0:
            assert reader.take(offset, entry.command).accepted
        else:
            told = (
                "rollout log, offset 2: number 2 was expected, and 3 came: a command between "
                "cannot be read here (not a command: offset 1): registry, keys or version differ "
                "— see docs/RUNBOOK.md"
            )
            with pytest.raises(RolloutError, match=re.escape(told)):
                reader.take(offset, entry.command)
    assert reader.state.sequence == 1


def test_a_number_stops_no_reader_unless_an_operator_signed_it(writer: Writer) -> None:
    writer.start(**LIMITED)
    body = command_kinds.Pause()
    for key, why in (
        (CONTROLLER, "has number 9, and 2 is next: its writer counted commands that do not count"),
        (STRANGER, "is signed by an unknown key"),
        (None, "is not signed"),
    ):
        command = write(9, writer.log.state.head, CommandKind.PAUSE, body, 5, key)
        assert writer.take(command).refused.startswith(why)
    free = Writer(Authority())
    free.take(free.make("plan", None, **plan().model_dump(mode="json")))
    with pytest.raises(RolloutError, match="number 2 was expected, and 9 came"):
        free.take(write(9, free.log.state.head, CommandKind.PAUSE, body, 5, None))


def test_a_late_number_of_a_retired_key_stops_no_reader() -> None:
    writer = Writer(
        Authority(trusted("ann", OPERATOR), {key_id(OPERATOR.public_key()): 2}, required=True)
    )
    writer.start()
    late = write(9, writer.log.state.head, CommandKind.PAUSE, command_kinds.Pause(), 5, OPERATOR)
    assert writer.take(late).refused.endswith("retired after number 2")


def test_an_operator_is_not_a_controller(writer: Writer) -> None:
    raw = OPERATOR.public_key().public_bytes_raw()
    entry = writer.start(controller={"key": base64.b64encode(raw).decode()})
    assert entry.refused == ("controller.key: is the key of the operator ann, whom no limit holds")


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["plan", "step", "switch", "promote", "rollback", "pause", "resume",
                         "verdict", "propose", "approve", "reject"]),
        st.integers(0, 4),
        st.sampled_from([OPERATOR, CONTROLLER, STRANGER, None]),
        st.booleans(),
    ),
    max_size=25,
)  # fmt: skip


def _said(kind: str, number: int) -> dict[str, Any]:
    return {
        "plan": (plan(COLOURS) if number == 4 else plan(**LIMITED)).model_dump(mode="json"),
        "step": {"stage": number},
        "switch": {"to": "green" if number % 2 else "blue"},
        "promote": {"arm": ["canary", "champion", "blue", "green", "x"][number]},
        "verdict": {"guard": "fast", "verdict": "CONTINUE"},
        "propose": {"kind": "step", "body": {"stage": number}},
        "approve": {"proposal": number + 1},
        "reject": {"proposal": number + 1},
    }.get(kind, {})


@settings(max_examples=examples(60), deadline=None)
@given(MOVES)
def test_all_readers_agree_and_customers_only_ever_join(
    moves: list[tuple[str, int, Any, bool]],
) -> None:
    writer = Writer()
    records = []
    for kind, number, key, twice in moves:
        command = writer.make(kind, key, **_said(kind, number))
        for _ in range(1 + twice):
            records.append(command)
            writer.take(command)
    whole = Log(SIGNED)
    for offset, command in enumerate(records):
        whole.take(offset, command)
    assert whole.state == writer.log.state
    assert whole.routings == writer.log.routings
    assert [e.refused for e in whole.entries] == [e.refused for e in writer.log.entries]
    # Refused records leave no trace: the log is the same without them.
    accepted = Log(SIGNED)
    for entry in whole.entries:
        if entry.accepted:
            assert entry.command is not None
            assert accepted.take(entry.offset, entry.command).accepted
    assert accepted.state == whole.state
    assert [e.signer.name for e in accepted.entries if e.signer] == [
        "ann" if e.signer.operator else "controller" for e in accepted.entries if e.signer
    ]
    assert [e.command.sequence for e in accepted.entries if e.command] == list(
        range(1, len(accepted.entries) + 1)
    )
    shares: list[float] = []
    for entry in accepted.entries:
        assert entry.command is not None
        routing = whole.routings.get(entry.command.sequence)
        if entry.command.kind == "plan":
            shares = []
        if routing is not None and "canary" in routing.versions:
            shares.append(routing.share("canary"))
            assert shares == sorted(shares)
        if entry.command.kind == "rollback":
            assert routing is not None
            assert list(routing.versions) == ["champion"]
            assert routing.effective_at is None
