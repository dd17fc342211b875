"""A trainer, its grant and its plans for tests of the control log."""

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.rollout.plan.control_record import Authority, Command
from stream_scorer.rollout.plan.fold_commands import FoldedRecord
from stream_scorer.rollout.plan.granted_plans import champion_of, salt_of
from stream_scorer.rollout.plan.plan_file import plan_of
from tests.support.rollout.scene import CONTROLLER_KEY, SIGNED, Writer

TRAINER = Ed25519PrivateKey.from_private_bytes(bytes(range(3, 35)))
TRAINER_KEY = base64.b64encode(TRAINER.public_key().public_bytes_raw()).decode()
FEATURES, OTHER = "ab" * 32, "cd" * 32
EXPIRES, COOLDOWN = 10_000_000, 3_600
LIMITS: dict[str, Any] = {"key": CONTROLLER_KEY, "may": ["step", "rollback"]}
STEADY: dict[str, Any] = {
    "name": "first", "strategy": "champion", "versions": {"champion": "fraud:0.1.0"},
}  # fmt: skip


def grant(**changed: Any) -> dict[str, Any]:
    return {
        "key": TRAINER_KEY, "model": "fraud", "feature_sets": [FEATURES], "share": 50,
        "expires_at": EXPIRES, "cooldown_seconds": COOLDOWN, "guard": {}, "controller": LIMITS,
        **changed,
    }  # fmt: skip


def provenance(**changed: Any) -> dict[str, Any]:
    digests = ("parent_content", "manifest_sha256", "gate_sha256", "dataset_sha256")
    return {
        "grant": 2, "parent": "fraud:0.1.0", "feature_set": FEATURES,
        **dict.fromkeys(digests, OTHER), **changed,
    }  # fmt: skip


class Trained(Writer):
    """A log with a champion and a grant, and a trainer that proposes.

    Attributes:
        now: Broker time of the next record, ms; None for a topic of CreateTime.
    """

    def __init__(self, authority: Authority = SIGNED, **limits: Any) -> None:
        super().__init__(authority)
        self.now: int | None = 1_000_000
        self.start(STEADY)
        self.accept("grant", **grant(**limits))

    def take(self, command: Command) -> FoldedRecord:
        return self.log.take(self.log.records, command, self.now)

    def proposal(self, **changed: Any) -> dict[str, Any]:
        """Return a plan that the grant allows, except for what is changed."""
        state = self.log.state
        champion = champion_of(state)
        origin = provenance(**{"parent": champion, **changed.pop("origin", {})})
        assert state.plan is not None
        return plan_of({
            "name": "retrained", "strategy": "canary", "salt": salt_of(state),
            "versions": {"champion": champion, "canary": "fraud:0.2.0"},
            "ramp": [{"percent": 0}, {"percent": 50}], "controller": LIMITS,
            "shared": state.plan.shared, "provenance": origin, **changed,
        }).model_dump(mode="json")  # fmt: skip

    def propose(self, key: Ed25519PrivateKey = TRAINER, /, **changed: Any) -> FoldedRecord:
        return self.give("plan", key, **self.proposal(**changed))

    def refused(self, key: Ed25519PrivateKey = TRAINER, /, **changed: Any) -> str:
        """Propose what must change nothing; return why."""
        return self.refusal("plan", key, **self.proposal(**changed))
