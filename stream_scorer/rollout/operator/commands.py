"""The ``rollout`` commands: each writes an operator's command to the control log."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.errors import RolloutError, SettingsError, StreamScorerError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.operator.reports import entry_document, progress_document, said
from stream_scorer.rollout.plan.command_kinds import BODIES, CommandKind
from stream_scorer.rollout.plan.plan_file import COLOURS, RolloutPlan
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.rollout.plan.strict_parsing import StrictModel, read
from stream_scorer.security.audit_access import AuditTrail, open_audit
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import key_id
from stream_scorer.settings import Settings

_TOLD = 1_000
"""Maximum characters of a command in the audit log; the control log has all of it."""


@contextmanager
def control_log(settings: Settings) -> Iterator[ControlLog]:
    """Open the control log, read to its end; raises as :class:`ControlLog`."""
    log = ControlLog(settings)
    try:
        read_patiently(log.refresh)
        yield log
    finally:
        log.close()


@contextmanager
def operating(
    settings: Settings, key: Ed25519PrivateKey | None, reason: str = ""
) -> Iterator["Operator"]:
    """Open the control log for an operator; raises as :class:`ControlLog`.

    Args:
        settings: The cluster, and the audit log.
        key: Signs the commands; None: they are not signed.
        reason: Why, for people.

    Raises:
        SettingsError: The audit log cannot be used.
    """
    audit = open_audit(settings.audit)
    with control_log(settings) as log:
        yield Operator(log, key, audit, reason)


class Operator:
    """Writes commands, and completes them from the state of the rollout.

    Each method returns the document that ``--json`` prints. A command is for the state that was
    read last. If another command than a verdict came since, RolloutError is raised and nothing is
    written.

    Args:
        log: Read to its end.
        key: Signs the commands; None: they are not signed.
        audit: Records each command before it is written.
        reason: Why, for people; kept in the log.
    """

    def __init__(
        self, log: ControlLog, key: Ed25519PrivateKey | None, audit: AuditTrail, reason: str = ""
    ) -> None:
        self._log = log
        self._key = key
        self._audit = audit
        self._reason = reason

    @property
    def state(self) -> RolloutState:
        """The state of the rollout."""
        return self._log.log.state

    def start(self, plan: RolloutPlan, *, replace: bool) -> dict[str, Any]:
        """Begin a rollout.

        Args:
            plan: The plan of the rollout.
            replace: Whether it may replace a running rollout.

        Raises:
            RolloutError: The plan is refused, or another rollout runs.
        """
        state = self.state
        if state.running and not replace:
            raise RolloutError(
                f"rollout {_named(state).name!r} is running",
                "promote it or roll it back first, or give --replace",
            )
        return self._written(CommandKind.PLAN, plan)

    def step(
        self, stage: int | None, percent: float | None, effective_at: int | None
    ) -> dict[str, Any]:
        """Advance to a later stage.

        Args:
            stage: Index in the ramp; None: the next.
            percent: Percentage of the stage, instead of its index.
            effective_at: Event time, ms, from which it decides; None: immediately.

        Raises:
            RolloutError: There is no such stage, or the step is refused.
        """
        state = self.state
        if percent is not None:
            shares = [each.percent for each in _named(state).ramp]
            if percent not in shares:
                told = ", ".join(f"{share:g}" for share in shares) or "none"
                raise RolloutError(
                    f"the ramp has no stage of {percent:g} %", f"its stages are {told}"
                )
            stage = shares.index(percent)
        wanted = state.stage + 1 if stage is None else stage
        return self._give(CommandKind.STEP, stage=wanted, effective_at=effective_at)

    def switch(self, to: str | None, effective_at: int | None) -> dict[str, Any]:
        """Let a colour decide; None: the one that does not decide now. Raises as :meth:`step`."""
        state = self.state
        other = COLOURS[state.colour == COLOURS[0]]
        return self._give(CommandKind.SWITCH, to=to or other, effective_at=effective_at)

    def promote(self, arm: str | None, effective_at: int | None) -> dict[str, Any]:
        """Make an arm's version the champion; None: the only candidate's.

        Raises:
            RolloutError: There are several candidates, or the promotion is refused.
        """
        state = self.state
        if arm is None:
            candidates = (state.colour,) if state.colour else _named(state).candidates
            if len(candidates) != 1:
                told = ", ".join(candidates) or "none"
                raise RolloutError(f"candidates are {told}", "name one: --arm")
            (arm,) = candidates
        return self._give(CommandKind.PROMOTE, arm=arm, effective_at=effective_at)

    def rollback(self) -> dict[str, Any]:
        """Let the plan's champion decide everything again, from the next offset on."""
        return self._give(CommandKind.ROLLBACK)

    def pause(self) -> dict[str, Any]:
        """Pause the rollout."""
        return self._give(CommandKind.PAUSE)

    def resume(self) -> dict[str, Any]:
        """Resume the rollout."""
        return self._give(CommandKind.RESUME)

    def answer(self, kind: CommandKind, proposal: int | None) -> dict[str, Any]:
        """Approve or reject what was proposed.

        Args:
            kind: ``APPROVE`` or ``REJECT``.
            proposal: Its sequence number; None: the proposal that waits now.

        Raises:
            RolloutError: No proposal, or another one, waits for an answer.
        """
        if proposal is None:
            pending = self.state.pending
            if pending is None:
                raise RolloutError(
                    "nothing waits for an answer", "see stream-scorer rollout status"
                )
            proposal = pending.sequence
        return self._give(kind, proposal=proposal)

    def grant(self, grant: RetrainGrant) -> dict[str, Any]:
        """Let a trainer begin rollouts within limits.

        Raises:
            RolloutError: The grant is refused.
        """
        return self._written(CommandKind.GRANT, grant)

    def revoke(self, number: int) -> dict[str, Any]:
        """End a grant; a rollout that it began continues.

        Raises:
            RolloutError: There is no such grant.
        """
        return self._give(CommandKind.REVOKE, grant=number)

    def _give(self, kind: CommandKind, **said: Any) -> dict[str, Any]:
        try:
            body = read(BODIES[kind], {**said, "reason": self._reason})
        except ValueError as error:
            raise SettingsError(f"{kind}: {error}", "correct it") from error
        return self._written(kind, body)

    def _written(self, kind: CommandKind, body: StrictModel) -> dict[str, Any]:
        head = self.state.head
        plan = body if isinstance(body, RolloutPlan) else self.state.plan
        subject = plan.name if plan else ""
        actor = None if self._key is None else f"key:{key_id(self._key.public_key())}"
        whole = canonical(body.model_dump(mode="json"))
        details = {
            "what": said(body)[:_TOLD], "reason": self._reason,
            "sha256": hashlib.sha256(whole).hexdigest(),
        }  # fmt: skip
        # The audit log comes first: it has every command that is written.
        self._audit.record(f"rollout.{kind}", subject, details, actor)
        try:
            entry = self._log.append(kind, body, self._key, expected=head)
        except StreamScorerError as error:
            told = {"kind": kind.value, "why": error.what}
            self._audit.record("rollout.refused", subject, told, actor)
            raise
        return {**entry_document(entry), "now": progress_document(self.state)}


def _named(state: RolloutState) -> RolloutPlan:
    if state.plan is None:
        raise RolloutError("there is no plan yet", "begin: stream-scorer rollout start")
    return state.plan


def event_time(text: str | None) -> int | None:
    """Return a time as ms since the epoch.

    Args:
        text: ISO 8601 with its zone, or ms since the epoch; None returns None.

    Raises:
        SettingsError: It is neither.
    """
    if text is None:
        return None
    mend = "write it as 2026-11-25T10:00:00Z"
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--effective-at {text}: is not a date and time", mend) from None
    if when.tzinfo is None:
        raise SettingsError(f"--effective-at {text}: names no zone", mend)
    return round(when.timestamp() * 1_000)
