"""Plans, keys and commands for tests of the control log."""

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.decision.routing import Routing
from stream_scorer.rollout.plan.command_kinds import BODIES, CommandKind
from stream_scorer.rollout.plan.control_record import Authority, Command, write
from stream_scorer.rollout.plan.fold_commands import FoldedRecord, Log
from stream_scorer.rollout.plan.plan_file import RolloutPlan, plan_of
from stream_scorer.rollout.plan.strict_parsing import read
from stream_scorer.security.keys import TrustedKey, key_id

OPERATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CONTROLLER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
CONTROLLER_KEY = base64.b64encode(CONTROLLER.public_key().public_bytes_raw()).decode()


def trusted(name: str, key: Ed25519PrivateKey) -> dict[str, TrustedKey]:
    public = key.public_key()
    return {key_id(public): TrustedKey(name, public)}


SIGNED = Authority(trusted("ann", OPERATOR), required=True)
CANARY: dict[str, Any] = {
    "name": "try 0.2",
    "strategy": "canary",
    "salt": "salt",
    "versions": {"champion": "fraud:0.1.0", "canary": "fraud:0.2.0"},
    "ramp": [{"percent": 1}, {"percent": 5}, {"percent": 25}, {"percent": 100}],
}
COLOURS: dict[str, Any] = {
    "name": "colours",
    "strategy": "blue-green",
    "versions": {"blue": "fraud:0.1.0", "green": "fraud:0.2.0"},
}


def plan(base: dict[str, Any] | None = None, **changed: Any) -> RolloutPlan:
    return plan_of({**(CANARY if base is None else base), **changed})


class Writer:
    """Writes commands one after another, and folds each of them."""

    def __init__(self, authority: Authority = SIGNED) -> None:
        self.log = Log(authority)
        self.at = 1_000

    @property
    def routing(self) -> Routing:
        assert self.log.state.routing is not None
        return self.log.state.routing

    def make(self, kind: str, key: Ed25519PrivateKey | None = OPERATOR, /, **said: Any) -> Command:
        state = self.log.state
        body = read(BODIES[CommandKind(kind)], said)
        self.at += 1
        return write(state.sequence + 1, state.head, CommandKind(kind), body, self.at, key)

    def take(self, command: Command) -> FoldedRecord:
        return self.log.take(self.log.records, command)

    def give(
        self, kind: str, key: Ed25519PrivateKey | None = OPERATOR, /, **said: Any
    ) -> FoldedRecord:
        return self.take(self.make(kind, key, **said))

    def start(self, base: dict[str, Any] | None = None, **changed: Any) -> FoldedRecord:
        return self.give("plan", **plan(base, **changed).model_dump(mode="json"))

    def accept(
        self, kind: str, key: Ed25519PrivateKey | None = OPERATOR, /, **said: Any
    ) -> FoldedRecord:
        entry = self.give(kind, key, **said)
        assert entry.refused == ""
        return entry

    def refusal(self, kind: str, key: Ed25519PrivateKey | None = OPERATOR, /, **said: Any) -> str:
        """Give a command that must change nothing; return why."""
        before = self.log.state, dict(self.log.routings)
        entry = self.give(kind, key, **said)
        assert entry.refused
        assert not entry.accepted
        assert (self.log.state, dict(self.log.routings)) == before
        return entry.refused
