"""What a trainer with a grant may write to the control log, and every limit of it."""

from typing import Any

import pytest

from stream_scorer.core.decision.routing import BUCKETS, Slice
from stream_scorer.rollout.plan.control_record import Authority
from stream_scorer.rollout.plan.fold_commands import Log
from stream_scorer.rollout.plan.granted_plans import GRANTS_KEPT
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.security.keys import key_id
from tests.support.rollout.grants import (
    COOLDOWN,
    EXPIRES,
    FEATURES,
    OTHER,
    STEADY,
    TRAINER,
    TRAINER_KEY,
    Trained,
    grant,
    provenance,
)
from tests.support.rollout.scene import (
    CONTROLLER,
    CONTROLLER_KEY,
    OPERATOR,
    SIGNED,
    STRANGER,
    Writer,
    trusted,
)


@pytest.fixture
def writer() -> Trained:
    return Trained()


def test_a_trainer_begins_with_a_shadow_and_no_operator(writer: Trained) -> None:
    entry = writer.propose()
    assert entry.refused == ""
    assert entry.signer is not None
    assert (entry.signer.role, entry.signer.operator) == ("trainer", False)
    state = writer.log.state
    assert state.running
    assert writer.routing.slices == (Slice("champion", 0, BUCKETS),)
    assert writer.routing.shadows == ("canary",)
    found = state.trained["fraud:0.2.0"]
    assert (found.parent, found.manifest_sha256, found.feature_set, found.grant) == (
        "fraud:0.1.0", OTHER, FEATURES, 2,
    )  # fmt: skip
    assert key_id(found.key.key) == key_id(TRAINER.public_key())
    assert state.trained_at == 1_000_000


def test_the_same_records_and_times_give_every_reader_the_same(writer: Trained) -> None:
    writer.propose()
    writer.accept("step", CONTROLLER, stage=1)
    reader = Log(SIGNED)
    for entry in writer.log.entries:
        assert entry.command is not None
        assert reader.take(entry.offset, entry.command, 1_000_000).accepted
    assert reader.state == writer.log.state


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"origin": {"parent": "fraud:0.9.0"}}, "provenance.parent: is fraud:0.9.0, and fraud:0.1"),
        ({"origin": {"grant": 1}}, "provenance.grant: names 1, and the key's newest grant is 2"),
        ({"origin": {"feature_set": OTHER}}, "provenance.feature_set: is not one of the grant's"),
        ({"ramp": [{"percent": 0}, {"percent": 51}]}, "ramp: goes up to 51 %, and the grant to 50"),
        ({"ramp": [{"percent": 1}, {"percent": 50}]}, "ramp: a trainer's begins with a shadow"),
        (
            {"controller": {"key": CONTROLLER_KEY, "may": ["step", "rollback", "promote"]}},
            "controller.may: the grant gives no right to promote",
        ),
        ({"controller": {"key": CONTROLLER_KEY, "may": []}}, "controller: is not the grant's"),
        ({"controller": None}, "controller: is not the grant's"),
        ({"guard": {"alpha": 0.5}}, "guard: is not the grant's"),
        ({"guard": {"costs": {"false_block": 0.0}}}, "guard: is not the grant's"),
        ({"shared": {"late_decision_ms": 1}}, "shared: is not what is shared now"),
        ({"salt": "mine"}, "salt: must be "),
        ({"effective_at": 5}, "effective_at: a trainer's plan has none"),
        (
            {"ramp": [{"percent": 0}], "overrides": [
                {"field": "customer_id", "values": ["C1"], "arm": "champion"}]},
            "overrides: a trainer's plan has none",
        ),
        (
            {"versions": {"champion": "fraud:0.0.9", "canary": "fraud:0.2.0"}},
            "versions: the champion is fraud:0.0.9, and fraud:0.1.0 decides now",
        ),
        (
            {"versions": {"champion": "fraud:0.1.0", "canary": "other:0.2.0"}},
            "versions: other:0.2.0 is not a version of fraud",
        ),
        (
            {"versions": {"champion": "fraud:0.1.0", "canary": "fraud:0.1.0"}},
            "versions: fraud:0.1.0 was in a plan before",
        ),
        (
            {"versions": dict.fromkeys(("champion", "canary", "third"), "fraud:0.1.0")},
            "a trainer's plan is a canary with the arms champion and canary alone",
        ),
        (
            {"strategy": "champion", "versions": {"champion": "fraud:0.2.0"}, "ramp": [],
             "salt": ""},
            "a trainer's plan is a canary",
        ),
        (
            {"strategy": "split", "shares": {"champion": 1, "canary": 99}, "ramp": []},
            "a trainer's plan is a canary",
        ),
    ],
)  # fmt: skip
def test_a_plan_outside_the_grant_changes_nothing(
    writer: Trained, changed: dict[str, Any], reason: str
) -> None:
    assert writer.refused(**changed).startswith(reason)
    assert writer.propose().accepted


def test_a_plan_needs_a_provenance_and_only_a_trainers_has_one(writer: Trained) -> None:
    bare = writer.proposal()
    del bare["provenance"]
    assert writer.refusal("plan", TRAINER, **bare).startswith("provenance: is missing")
    assert writer.refused(OPERATOR) == "provenance: is only for a plan that a trainer signs"
    with pytest.raises(ValueError, match="format: must be 4 for a plan with a provenance"):
        plan_of({**writer.proposal(), "format": 1})
    # Older programs know no such key, so a plan without one does not name it.
    assert "provenance" not in plan_of(STEADY).model_dump()


def test_older_formats_have_no_newer_keys_of_the_guard(writer: Trained) -> None:
    assert "least_genuine" not in plan_of(STEADY).model_dump(mode="json")["guard"]
    assert writer.proposal()["guard"]["least_genuine"] == 50
    with pytest.raises(ValueError, match=r"guard\.least_genuine: is for a plan that explores"):
        plan_of({**STEADY, "guard": {"least_genuine": 9}})
    assert plan_of({**STEADY, "format": 4, "guard": {"least_genuine": 9}}).guard.least_genuine == 9


def test_a_grant_ends_by_the_brokers_time(writer: Trained) -> None:
    writer.now = EXPIRES
    assert writer.refused() == f"grant 2 expired at {EXPIRES}, before {EXPIRES}"
    writer.at = 5
    assert "expired" in writer.refused()
    writer.now = EXPIRES - 1
    writer.at = 10 * EXPIRES
    assert writer.propose().accepted


def test_without_the_brokers_time_no_grant_is_valid(writer: Trained) -> None:
    writer.now = None
    assert "message.timestamp.type=LogAppendTime" in writer.refused()
    # Operators need no broker time.
    writer.accept("plan", **plan_of({**STEADY, "name": "again"}).model_dump(mode="json"))


def test_a_revoked_grant_ends_and_its_rollout_does_not(writer: Trained) -> None:
    assert writer.propose().accepted
    writer.accept("revoke", grant=2, reason="the trainer left")
    assert writer.log.state.running
    writer.accept("rollback")
    writer.now = 9_000_000
    version = {"versions": {"champion": "fraud:0.1.0", "canary": "fraud:0.3.0"}}
    assert writer.refused(**version) == "grant 2 was revoked by number 4"
    assert writer.refusal("revoke", grant=2) == "grant 2 was revoked by number 4"
    assert writer.refusal("revoke", grant=1) == "there is no grant number 1"


def test_a_newer_grant_replaces_the_keys_former_one(writer: Trained) -> None:
    writer.accept("grant", **grant(share=10))
    assert writer.refused() == "provenance.grant: names 2, and the key's newest grant is 3"
    assert "and the grant to 10 %" in writer.refused(origin={"grant": 3})
    ramp = [{"percent": 0}, {"percent": 10}]
    assert writer.propose(origin={"grant": 3}, ramp=ramp).accepted


def test_one_rollout_at_a_time_and_a_pause_between(writer: Trained) -> None:
    assert writer.propose().accepted
    version = {"versions": {"champion": "fraud:0.1.0", "canary": "fraud:0.3.0"}}
    assert writer.refused(**version) == "rollout 3 is running: a trainer waits for its end"
    writer.accept("rollback")
    due = 1_000_000 + COOLDOWN * 1_000
    writer.now = due - 1
    assert f"the next from {due} on, not at {due - 1}" in writer.refused(**version)
    # A new grant of an operator does not end the pause, nor does a broker's clock that goes back.
    writer.now = 5
    assert "the next from" in writer.refused(**version)
    writer.now = due
    assert writer.refused().startswith("versions: fraud:0.2.0 was in a plan before")
    assert writer.propose(**version).accepted


def test_a_replayed_plan_is_at_another_place(writer: Trained) -> None:
    command = writer.make("plan", TRAINER, **writer.proposal())
    assert writer.take(command).accepted
    writer.accept("rollback")
    writer.now = 9_000_000
    assert writer.take(command).refused.startswith("has number 3, and 5 is next")
    other = Trained()
    other.start({**STEADY, "name": "another log"})
    assert other.take(command).refused.startswith("has number 3, and 4 is next")


def test_a_trainer_only_writes_plans(writer: Trained) -> None:
    assert writer.propose().accepted
    for kind, body in (
        ("step", {"stage": 1}), ("promote", {"arm": "canary"}), ("rollback", {}), ("pause", {}),
        ("verdict", {"guard": "slow", "verdict": "PROMOTE"}), ("grant", grant(share=100)),
        ("revoke", {"grant": 2}), ("propose", {"kind": "promote", "body": {"arm": "canary"}}),
    ):  # fmt: skip
        assert writer.refusal(kind, TRAINER, **body) == f"a trainer only writes plans, not {kind}"


def test_only_operators_grant_and_revoke(writer: Trained) -> None:
    assert "unknown key" in writer.refusal("grant", STRANGER, **grant())
    assert writer.propose().accepted
    why = "the plan does not let its controller grant"
    assert writer.refusal("grant", CONTROLLER, **grant()) == why
    assert "let its controller revoke" in writer.refusal("revoke", CONTROLLER, grant=2)


def test_a_key_without_a_grant_is_unknown() -> None:
    writer = Writer()
    writer.start(STEADY)
    body = Trained().proposal(salt=writer.log.state.head.hex()[:32])
    assert "unknown key" in writer.refusal("plan", TRAINER, **body)


def test_a_trainer_is_no_operator_and_no_controller(writer: Trained) -> None:
    both = Authority({**SIGNED.operators, **trusted("bob", TRAINER)}, required=True)
    other = Writer(both)
    other.start(STEADY)
    assert other.refusal("grant", **grant()) == "key: is the key of the operator bob"
    assert writer.propose().accepted
    why = "key: is the key of the plan's controller"
    limits = {"key": TRAINER_KEY, "may": ["step"]}
    assert writer.refusal("grant", **grant(key=CONTROLLER_KEY, controller=limits)) == why
    writer.accept("rollback")
    plan = {**STEADY, "name": "mine", "controller": limits}
    whole = plan_of(plan).model_dump(mode="json")
    assert "is the key of a trainer" in writer.refusal("plan", **whole)
    unsigned = grant(controller={"key": "", "may": ["step"]})
    assert writer.refusal("grant", **unsigned).startswith("controller.key: is empty")


def test_with_the_right_the_controller_promotes_the_version() -> None:
    may = {"key": CONTROLLER_KEY, "may": ["step", "rollback", "promote"]}
    writer = Trained(promote=True, controller=may)
    assert writer.propose(controller=may).accepted
    writer.accept("step", CONTROLLER, stage=1)
    writer.accept("promote", CONTROLLER, arm="canary")
    writer.now = 9_000_000
    assert writer.routing.versions["champion"].label == "fraud:0.2.0"
    # The bundle stays trusted after the grant, and the next parent is the promoted version.
    writer.accept("revoke", grant=2)
    assert set(writer.log.state.trained) == {"fraud:0.2.0"}
    writer.accept("grant", **grant(promote=True, controller=may))
    body = {
        "controller": may, "versions": {"champion": "fraud:0.2.0", "canary": "fraud:0.3.0"},
        "origin": {"grant": 7},
    }  # fmt: skip
    assert writer.propose(**body).accepted
    assert set(writer.log.state.trained) == {"fraud:0.2.0", "fraud:0.3.0"}


def test_a_log_keeps_a_limited_number_of_grants(writer: Trained) -> None:
    for _ in range(GRANTS_KEPT):
        writer.accept("grant", **grant())
    assert len(writer.log.state.grants) == GRANTS_KEPT
    assert min(writer.log.state.grants) == 3
    assert writer.propose(origin={"grant": 102}).accepted


def test_a_forged_signature_is_refused(writer: Trained) -> None:
    command = writer.make("plan", TRAINER, **writer.proposal())
    forged = writer.make("plan", STRANGER, **writer.proposal())
    for name, value in (("body", forged.body.replace("0.2.0", "0.9.9")), ("at", command.at + 1)):
        changed = {n: getattr(command, n) for n in command.__dataclass_fields__} | {name: value}
        assert "has no valid signature by trainer" in writer.take(type(command)(**changed)).refused
    assert provenance()["grant"] == 2
