"""Plans and grants that a stolen or curious trainer may write to the control log."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.hostile_cases.case import Case, Place, entry

_EXPIRES, _NOW, _COOLDOWN = 10_000_000, 1_000_000, 3_600
_SET, _OTHER = "ab" * 32, "cd" * 32
_STEADY: Final = {
    "name": "first", "strategy": "champion", "versions": {"champion": "fraud:0.1.0"},
}  # fmt: skip
_DIGESTS: Final = ("parent_content", "manifest_sha256", "gate_sha256", "dataset_sha256")


def _public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()


class _Granted:
    """A control log with a champion, and a grant for a trainer."""

    def __init__(self) -> None:
        self.control = entry("stream_scorer.rollout.plan.control_record")
        self.rules = entry("stream_scorer.rollout.plan.granted_plans")
        self.plan_of = entry("stream_scorer.rollout.plan.plan_file", "plan_of")
        keys = entry("stream_scorer.security.keys")
        self.operator, self.controller, self.trainer = (
            Ed25519PrivateKey.generate() for _ in range(3)
        )
        public = self.operator.public_key()
        trusted = {keys.key_id(public): keys.TrustedKey("ann", public)}
        self.log = entry("stream_scorer.rollout.plan.fold_commands", "Log")(
            self.control.Authority(trusted, {}, required=True)
        )
        self.now: int | None = _NOW
        self.limits = {"key": _public(self.controller), "may": ["step", "rollback"]}
        self.give(self.command("plan", self.whole(_STEADY), self.operator))
        self.give(self.command("grant", self.grant(), self.operator))

    def grant(self, **changed: Any) -> dict[str, Any]:
        return {
            "key": _public(self.trainer), "model": "fraud", "feature_sets": [_SET], "share": 50,
            "expires_at": _EXPIRES, "cooldown_seconds": _COOLDOWN, "guard": {},
            "controller": self.limits, **changed,
        }  # fmt: skip

    def whole(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.plan_of(plan).model_dump(mode="json")
        return made

    def proposal(self, **changed: Any) -> dict[str, Any]:
        state = self.log.state
        origin = {
            "grant": 2, "parent": "fraud:0.1.0", "feature_set": _SET,
            **dict.fromkeys(_DIGESTS, _OTHER), **changed.pop("origin", {}),
        }  # fmt: skip
        return self.whole({
            "name": "retrained", "strategy": "canary", "salt": self.rules.salt_of(state),
            "versions": {"champion": "fraud:0.1.0", "canary": "fraud:0.2.0"},
            "ramp": [{"percent": 0}, {"percent": 50}], "controller": self.limits,
            "shared": state.plan.shared, "provenance": origin, **changed,
        })  # fmt: skip

    def command(self, kind: str, body: dict[str, Any], key: Ed25519PrivateKey) -> Any:
        commands = entry("stream_scorer.rollout.plan.command_kinds")
        read = entry("stream_scorer.rollout.plan.strict_parsing", "read")
        state, of = self.log.state, commands.CommandKind(kind)
        return self.control.write(
            state.sequence + 1, state.head, of, read(commands.BODIES[of], body), 1_000, key
        )

    def propose(self, **changed: Any) -> Any:
        return self.command("plan", self.proposal(**changed), self.trainer)

    def give(self, command: Any) -> str:
        found = self.log.take(len(self.log.entries), command, self.now)
        return f"refused: {found.refused}" if found.refused else "accepted"


def _given(make: Callable[[_Granted], Any]) -> Callable[[Place], str]:
    """Fold a hostile command; the operator's next one must still count, and nothing is trusted."""

    def run(_: Place) -> str:
        log = _Granted()
        before = set(log.log.state.trained)
        found = log.give(make(log))
        trusted = "" if set(log.log.state.trained) == before else "; a bundle is trusted"
        after = log.give(log.command("plan", log.whole(_STEADY), log.operator))
        return f"{found}{trusted}; the operator's next: {after}"

    return run


def _proposed(**changed: Any) -> Callable[[Place], str]:
    return _given(lambda log: log.propose(**changed))


def _at(now: int | None) -> Callable[[Place], str]:
    def make(log: _Granted) -> Any:
        log.now = now
        return log.propose()

    return _given(make)


def _after(*kinds: tuple[str, dict[str, Any]], now: int = _NOW, **changed: Any) -> Any:
    """Propose after a plan of the trainer, and further commands of the operator."""

    def make(log: _Granted) -> Any:
        log.give(log.propose())
        for kind, body in kinds:
            log.give(log.command(kind, body, log.operator))
        log.now = now
        versions = {"champion": "fraud:0.1.0", "canary": "fraud:0.3.0"}
        return log.propose(versions=versions, **changed)

    return _given(make)


def _replayed(log: _Granted) -> Any:
    command = log.propose()
    log.give(command)
    log.give(log.command("rollback", {}, log.operator))
    log.now = 9_000_000
    return command


def _promoting(log: _Granted) -> Any:
    may = [*log.limits["may"], "promote"]
    return log.propose(controller={**log.limits, "may": may})


def _own_controller(log: _Granted) -> Any:
    return log.propose(controller={**log.limits, "key": _public(log.trainer)})


_NOTHING: Final = "refused: .*; the operator's next: accepted"

CASES: Final = tuple(
    Case(f"grant: {what}", 4, "grants", _NOTHING, run, words=words)
    for what, words, run in (
        ("a plan at the broker's time of its end", "grant 2 expired", _at(_EXPIRES)),
        ("a plan in a topic of the writers' times", "LogAppendTime", _at(None)),
        ("another parent", "provenance.parent: is fraud:0.0.9",
         _proposed(origin={"parent": "fraud:0.0.9"})),
        ("another grant's number", "the key's newest grant is 2", _proposed(origin={"grant": 1})),
        ("another feature set", "provenance.feature_set",
         _proposed(origin={"feature_set": _OTHER})),
        ("a larger share", "goes up to 60 %, and the grant to 50 %",
         _proposed(ramp=[{"percent": 0}, {"percent": 60}])),
        ("a ramp without a shadow", "begins with a shadow", _proposed(ramp=[{"percent": 50}])),
        ("the right to promote", "the grant gives no right to promote", _given(_promoting)),
        ("itself as the controller", "controller: is not the grant's", _given(_own_controller)),
        ("no controller", "controller: is not the grant's", _proposed(controller=None)),
        ("a looser guard", "guard: is not the grant's", _proposed(guard={"alpha": 0.5})),
        ("another shared table", "shared: is not what is shared now",
         _proposed(shared={"late_decision_ms": 1})),
        ("a salt of its own", "salt: must be", _proposed(salt="mine")),
        ("a customer of its choice", "overrides: a trainer's plan has none",
         _proposed(overrides=[{"field": "customer_id", "values": ["C1"], "arm": "champion"}])),
        ("an event time", "effective_at", _proposed(effective_at=1)),
        ("a plan of one version", "a trainer's plan is a canary", _proposed(
            strategy="champion", versions={"champion": "fraud:0.2.0"}, ramp=[], salt="")),
        ("a foreign model", "is not a version of fraud", _proposed(
            versions={"champion": "fraud:0.1.0", "canary": "other:0.2.0"})),
        ("the operators' bundle", "was in a plan before", _proposed(
            versions={"champion": "fraud:0.1.0", "canary": "fraud:0.1.0"})),
        ("a second rollout", "is running", _after()),
        ("a plan in the cool-down", "the next from", _after(("rollback", {}))),
        ("a plan after the revocation", "was revoked", _after(
            ("rollback", {}), ("revoke", {"grant": 2}), now=9_000_000)),
        ("a replayed plan", "has number 3, and 5 is next", _given(_replayed)),
        ("a step of the trainer", "a trainer only writes plans", _given(
            lambda log: log.command("step", {"stage": 1}, log.trainer))),
        ("a grant of the trainer", "a trainer only writes plans", _given(
            lambda log: log.command("grant", log.grant(share=100), log.trainer))),
        ("a grant for an operator's key", "is the key of the operator ann", _given(
            lambda log: log.command("grant", log.grant(key=_public(log.operator)), log.operator))),
        ("an operator's plan with a provenance", "only for a plan that a trainer signs", _given(
            lambda log: log.command("plan", log.proposal(), log.operator))),
    )
)  # fmt: skip
