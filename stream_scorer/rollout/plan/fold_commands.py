"""The fold over the control log: how each record changes the state, or why it is refused.

A pure function of the records, in the order of the topic, of the broker times at which they were
appended, and of the accepted keys. So every reader computes the same state, whenever it reads. A
refused record changes nothing.

A reader stops in two cases. Both require a command with an operator's valid signature or, where
signatures are not required, any command. In the first case a newer version wrote the command, so
its meaning is unknown here. In the second case its sequence number is greater than the next one:
the writer accepted a command that is not accepted here, so this reader's state is not that of the
others. Possible causes:

- the registry does not know the schema of the missing command, or this program cannot decode it;
- the settings have other keys: a key was removed or was retired before its last command, or
  signatures are required although earlier commands have none;
- another version of the program has other rules for commands;
- the topic was restored from a backup without its end, and the writer had read that end;
- the record was copied from another log of the same operators.

The topic keeps its records for ever, and any client with the right to write there may fill it. So a
refused record takes little memory: only its short fields are kept, and only of the newest
:data:`REFUSED_KEPT`.
"""

from collections import deque
from dataclasses import dataclass, replace
from heapq import merge
from operator import attrgetter
from typing import Final

from stream_scorer.core.decision.routing import Routing
from stream_scorer.errors import RolloutError
from stream_scorer.rollout.plan.allowed_commands import next_state, refuse_limits
from stream_scorer.rollout.plan.command_kinds import BODIES, CommandKind
from stream_scorer.rollout.plan.control_record import (
    BODY_BYTES_MOST,
    Authority,
    Command,
    CommandSigner,
)
from stream_scorer.rollout.plan.granted_plans import refuse_trainer, with_trained
from stream_scorer.rollout.plan.judging_rules import ControllerRules
from stream_scorer.rollout.plan.newer_versions import known_kind, refuse_newer_format
from stream_scorer.rollout.plan.plan_file import RolloutPlan
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.rollout.plan.strict_parsing import StrictModel, read
from stream_scorer.security.canonical_json import canonical, parse
from stream_scorer.security.keys import key_id

REFUSED_KEPT: Final = 1_000
"""Number of refused records, the newest ones, that a log keeps in memory."""
REASON_MOST: Final = 500
"""Maximum characters of the reason why a record is refused."""
_NAME_MOST = 64
"""Maximum characters that are kept of a refused command's kind, and of its key id."""
_NAMED = 8
"""Maximum number of offsets in an error."""


@dataclass(frozen=True, slots=True)
class FoldedRecord:
    """A record, and whether it was accepted.

    Attributes:
        offset: In the topic; -1 if it is not written yet.
        command: The command; None if the record is not a command.
        signer: The signer; None if its signature was not accepted.
        body: The command's body; None if it could not be read.
        refused: Why it was refused, at most :data:`REASON_MOST` characters; empty if it was
            accepted.
    """

    offset: int
    command: Command | None
    signer: CommandSigner | None
    body: StrictModel | None
    refused: str

    @property
    def accepted(self) -> bool:
        """Whether it was accepted."""
        return not self.refused

    def shortened(self) -> "FoldedRecord":
        """Return what is kept of a refused record; its size does not depend on the record's.

        The command has no body, no signature and no previous hash, and only the first 64 characters
        of its kind and key id. So its hash is not the record's.
        """
        if self.command is None:
            return self
        kind, key = self.command.kind[:_NAME_MOST], self.command.key_id[:_NAME_MOST]
        command = replace(self.command, kind=kind, key_id=key, body="", signature=b"", previous=b"")
        return replace(self, command=command, body=None)


class Log:
    """The control log up to the last record that was read.

    Args:
        authority: The accepted keys.

    Attributes:
        authority: As given.
        state: The state after all records.
        commands: The accepted records: number n is at place n - 1.
        records: Number of all records, accepted or not.
        last_offset: Offset of the last record; -1 before the first.
        routings: The routing of each revision, ascending.
    """

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.state = RolloutState()
        self.commands: list[FoldedRecord] = []
        self.records = 0
        self.last_offset = -1
        self.routings: dict[int, Routing] = {}
        self._refused: deque[FoldedRecord] = deque(maxlen=REFUSED_KEPT)
        # The first records since the last accepted command that are not commands, for an error.
        self._unreadable: list[int] = []

    @property
    def entries(self) -> list[FoldedRecord]:
        """All accepted and the newest refused records, in the order of the topic.

        Refused ones are :meth:`shortened <FoldedRecord.shortened>`.
        """
        return list(merge(self.commands, self._refused, key=attrgetter("offset")))

    def take(self, offset: int, command: Command, appended_at: int | None = None) -> FoldedRecord:
        """Fold the next record; return all of it.

        Args:
            offset: In the topic.
            command: The command.
            appended_at: Broker time at which it was appended, ms since the epoch; None if the topic
                keeps the writer's time. Then a trainer's plans are refused.

        Raises:
            RolloutError: A newer version wrote it, or a command before it is missing here.
        """
        entry, state = self._judged(offset, command, appended_at)
        if state is not None:
            if state.revision != self.state.revision and state.routing is not None:
                self.routings[state.revision] = state.routing
            self.state = state
        self._keep(entry)
        return entry

    def pass_over(self, offset: int, why: str) -> FoldedRecord:
        """Add an entry for a record that is not a command."""
        entry = FoldedRecord(offset, None, None, None, why[:REASON_MOST])
        self._keep(entry)
        return entry

    def _keep(self, entry: FoldedRecord) -> None:
        self.records += 1
        self.last_offset = entry.offset
        if entry.accepted:
            self.commands.append(entry)
            self._unreadable.clear()
            return
        self._refused.append(entry.shortened())
        if entry.command is None and len(self._unreadable) < _NAMED:
            self._unreadable.append(entry.offset)

    def after(self, revision: int) -> list[Routing]:
        """Return the routings of the revisions after a revision, ascending."""
        return [routing for number, routing in self.routings.items() if number > revision]

    def accepted(self, sequence: int) -> Command:
        """Return the accepted command with a sequence number.

        Raises:
            KeyError: There is none.
        """
        if not 1 <= sequence <= len(self.commands):
            raise KeyError(sequence)
        command = self.commands[sequence - 1].command
        if command is None:
            raise KeyError(sequence)
        return command

    def moved_since(self, head: bytes) -> bool:
        """Whether a command other than a verdict was accepted after a head.

        Args:
            head: Of a state that was read before; True for a head that is not in this log.
        """
        at = self.state.head
        for entry in reversed(self.commands):
            if at == head:
                return False
            if entry.command is not None:
                if entry.command.kind != CommandKind.VERDICT:
                    return True
                at = entry.command.previous
        return at != head

    def would(self, command: Command) -> FoldedRecord:
        """Return the entry that a command would be as the next record, appended at its own time."""
        return self._judged(-1, command, command.at)[0]

    def _judged(
        self, offset: int, command: Command, appended_at: int | None
    ) -> tuple[FoldedRecord, RolloutState | None]:
        """Return a record's entry, and the state after it if it is accepted."""
        signer, body = None, None
        try:
            before = self.state
            signer = self.authority.signer(command, before.controller, before.trainers)
            self._refuse_place(offset, command, signer)
            kind = known_kind(offset, command, signer)
            body = _body(offset, command, kind, signer)
            _refuse_role(before, kind, body, signer, appended_at)
            state = next_state(before, kind, body, command.sequence, command.at)
            if isinstance(body, RolloutPlan):
                self._refuse_controller(body, before)
                state = with_trained(state, body, appended_at)
            elif isinstance(body, RetrainGrant):
                self._refuse_trainer_key(body)
        except ValueError as error:
            return FoldedRecord(offset, command, signer, body, str(error)[:REASON_MOST]), None
        state = replace(state, sequence=command.sequence, head=command.hash)
        return FoldedRecord(offset, command, signer, body, ""), state

    def _refuse_place(self, offset: int, command: Command, signer: CommandSigner) -> None:
        """Refuse a record that does not follow the last accepted one; stop if one is missing."""
        expected = self.state.sequence + 1
        if command.sequence > expected:
            if signer.operator:
                raise _missing(offset, expected, command.sequence, self._unreadable)
            raise ValueError(
                f"has number {command.sequence}, and {expected} is next: its writer counted "
                "commands that do not count here"
            )
        if command.sequence != expected:
            raise ValueError(
                f"has number {command.sequence}, and {expected} is next: another command came first"
            )
        if command.previous != self.state.head:
            raise ValueError(f"does not follow number {self.state.sequence} of this log")

    def _refuse_trainer_key(self, grant: RetrainGrant) -> None:
        """Refuse a grant for a key that has other rights."""
        operator = self.authority.operators.get(grant.key_id)
        if operator is not None:
            raise ValueError(f"key: is the key of the operator {operator.name}")
        controller = self.state.controller
        if controller is not None and key_id(controller.key) == grant.key_id:
            raise ValueError("key: is the key of the plan's controller")
        self._refuse_controller_key(grant.controller)

    def _refuse_controller(self, plan: RolloutPlan, before: RolloutState) -> None:
        """Refuse a plan whose controller would not be bound by its limits."""
        if plan.controller is None:
            return
        if plan.controller.key_id in before.trainers:
            raise ValueError("controller.key: is the key of a trainer, which has a grant")
        self._refuse_controller_key(plan.controller)

    def _refuse_controller_key(self, controller: ControllerRules) -> None:
        if self.authority.required and not controller.key:
            raise ValueError("controller.key: is empty, and every command must be signed here")
        operator = self.authority.operators.get(controller.key_id)
        if operator is not None:
            raise ValueError(
                f"controller.key: is the key of the operator {operator.name}, whom no limit holds"
            )


def _refuse_role(
    state: RolloutState, kind: CommandKind, body: StrictModel, signer: CommandSigner,
    appended_at: int | None,
) -> None:  # fmt: skip
    """Refuse a command that its signer may not write."""
    if signer.role == "trainer":
        refuse_trainer(state, kind, body, signer.key_id, appended_at)
    elif signer.role == "controller":
        refuse_limits(state, kind, body)
    elif isinstance(body, RolloutPlan) and body.provenance is not None:
        raise ValueError("provenance: is only for a plan that a trainer signs")


def _body(offset: int, command: Command, kind: CommandKind, signer: CommandSigner) -> StrictModel:
    """Return a command's body; refuse one that is not canonical JSON."""
    data = command.body.encode("utf-8", "replace")
    if len(data) > BODY_BYTES_MOST:
        raise ValueError(f"its body has {len(data)} bytes, more than {BODY_BYTES_MOST}")
    document = parse(data)
    if canonical(document) != data:
        raise ValueError("its body is not canonical JSON")
    refuse_newer_format(offset, document.get("format"), kind, signer)
    return read(BODIES[kind], data)


def _missing(offset: int, expected: int, came: int, unreadable: list[int]) -> RolloutError:
    named = ", ".join(map(str, unreadable))
    where = f" (not a command: offset {named})" if unreadable else ""
    return RolloutError(
        f"rollout log, offset {offset}: number {expected} was expected, and {came} came: a command "
        f"between cannot be read here{where}: registry, keys or version differ",
        "see docs/RUNBOOK.md, section 'The scorer left with exit code 11'",
    )
