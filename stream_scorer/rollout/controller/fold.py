"""The controller's fold: from batches of merged records to a rollout's evidence, and commands.

A batch is processed in the order of its records. It is split after each record at which a look is
due, or at which the watermark enters another ten minutes of event time, when decisions mature. So
the state is a function of the records alone. It is in memory and in one file, with the next offsets
of the topics.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from stream_scorer.core.decision.routing import CANARY, CONTROL, Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.terminals.pending_labels import IDLE_MS, NEVER
from stream_scorer.core.terminals.profile_kernels import advance
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.rollout.controller.batches import (
    Call,
    ControllerBatch,
    Numbers,
    decode,
    rows_asked,
    span,
    waiting,
    waiting_in_shadow,
)
from stream_scorer.rollout.controller.columns import EvidenceColumns, Timings
from stream_scorer.rollout.controller.decide import (
    Action,
    RolloutProgress,
    asked_at,
    decide,
    progress_of,
    trial_of,
    verdict_due,
)
from stream_scorer.rollout.evidence.bucket_counts import (
    CANARY_SIDE,
    CONTROL_SIDE,
    NO_SIDE,
)
from stream_scorer.rollout.evidence.collected import Gathering
from stream_scorer.rollout.evidence.label_join import LabelJoin
from stream_scorer.rollout.evidence.verdicts import CANARY_WAY, SHADOW_WAY, Judged, Trial
from stream_scorer.rollout.plan.command_kinds import VerdictGiven
from stream_scorer.rollout.plan.fold_commands import Log
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.telemetry import Listener, RolloutEvidence, RolloutJudged

STEP_MS: Final = 600_000
"""Decisions mature whenever the watermark of event time enters another ten minutes."""
_STATE, _CLOCK, _CALLS = "gathering", "clock", "calls"
_NOTHING: Final = "nothing is judged"
_SIDES: Final = {CANARY: CANARY_SIDE, CONTROL: CONTROL_SIDE}
_CALLS_MOST: Final = 10_000
"""Maximum number of summaries of one Kafka transaction that are counted."""


class Commands(Protocol):
    """The control log; implemented by ``rollout.log.control_log.ControlLog``."""

    @property
    def log(self) -> Log:
        """The fold of the records that were read."""
        ...

    def refresh(self) -> RolloutState:
        """Read to the end that the topic has now."""
        ...


class Controlling:
    """Folds the topics of a rollout, and returns what to write to the control log.

    Args:
        commands: The control log.
        columns: Decodes bytes to columns.
        numbers: Numbering of the partitions.
        file: File of the state; None: only in memory.
        slack_ms: How much longer labels may take to arrive than the plan's maturity.
        most_rows: Maximum number of decisions that wait for labels, and of labels.
        listener: Notified of judgements, and of the numbers of waiting rows.

    Raises:
        StateError: The file is damaged, or another process has it.
        UnavailableError: File, broker or registry cannot be reached.
    """

    def __init__(
        self,
        commands: Commands,
        columns: EvidenceColumns,
        numbers: Numbers,
        file: Path | None,
        slack_ms: int,
        most_rows: int,
        listener: Listener,
    ) -> None:
        self._commands = commands
        self._columns = columns
        self._numbers = numbers
        self._file = file
        self._slack = slack_ms
        self._most = most_rows
        self._listener = listener
        self._watermark = NEVER
        self._newest = np.full(numbers.counts[0], NEVER)
        self._heard = self._newest.copy()
        self._calls: list[Call] = []
        self._unreadable = 0
        self._trial: Trial | None = None
        self._gathering: Gathering | None = None
        self._identity = ""
        self._followed = -1
        self._join: LabelJoin | None = None
        self._follow(commands.refresh())
        if (clock := self._joined.note(_CLOCK)) is not None:
            self._resume(json.loads(clock))

    def _resume(self, clock: Mapping[str, Any]) -> None:
        newest, heard = np.array(clock["newest"], np.int64), np.array(clock["heard"], np.int64)
        if len(newest) == len(self._newest):
            self._newest, self._heard = newest, heard
        self._watermark = int(clock["watermark"])

    @property
    def _joined(self) -> LabelJoin:
        if self._join is None:
            raise RuntimeError("the file is closed")
        return self._join

    @property
    def clock_ms(self) -> int:
        """Watermark of event time."""
        return self._watermark

    def places(self) -> dict[tuple[str, int], int]:
        """Return the next offset by topic and partition; empty for a new file."""
        return self._joined.places()

    def close(self) -> None:
        """Close the file; what is not committed will be read again."""
        if self._join is not None:
            self._join.close()
            self._join = None

    # -- the control log ----------------------------------------------------------------------

    def _follow(self, state: RolloutState) -> None:
        """Follow the current revisions; for another rollout, begin with new evidence."""
        log = self._commands.log
        self._followed = state.sequence
        identity = self._name(state)
        if identity != self._identity:
            self.close()
            self._identity = identity
            self._trial = trial_of(state)
            self._gathering = None if self._trial is None else Gathering(self._trial)
            maturity = 0 if state.plan is None else state.plan.guard.maturity_seconds * 1_000
            plan = Plan()
            if state.plan is not None:
                plan = state.plan.shared_plan(state.plan_revision)
            self._columns.read_labels_by(plan)
            self._join = LabelJoin(
                self._file, identity, maturity, self._slack, self._most,
                by_time=plan.label_identity.by_time,
                policy=None if self._trial is None else self._trial.policy,
            )  # fmt: skip
            self._calls = [(a, s, n) for a, s, n in json.loads(self._join.note(_CALLS) or b"[]")]
            kept = self._join.note(_STATE)
            if self._gathering is not None and kept is not None:
                self._gathering.follow(log.routings)
                self._gathering.restore(kept)
        if self._gathering is not None:
            self._gathering.follow(log.routings)

    def _name(self, state: RolloutState) -> str:
        """Return the identity of the rollout's state: the hash of the record that began it."""
        if trial_of(state) is None:
            return _NOTHING
        return self._commands.log.accepted(state.plan_revision).hash.hex()

    def due(self) -> tuple[bytes, list[VerdictGiven], Action]:
        """Return the head of the log, the verdicts that are missing there, and the next action.

        They are based on that head: see ``expected`` of :meth:`ControlLog.append`.
        """
        state = self._commands.refresh()
        self._follow(state)
        if self._gathering is None:
            return state.head, [], decide(state, RolloutProgress(self._watermark))
        progress = progress_of(self._gathering, state.revision, self._watermark)
        said = [judged for judged in (progress.fast, progress.slow) if judged is not None]
        verdicts = [due for judged in said if (due := verdict_due(state, judged)) is not None]
        asked = asked_at(self._commands.log.commands, state.plan_revision)
        return state.head, verdicts, decide(state, progress, asked)

    # -- batches ------------------------------------------------------------------------------

    def fold(self, raw: RawRecords) -> None:
        """Decode and count records; :meth:`commit` stores them. Raises as the next two methods."""
        self.take(self.decode(raw))

    def decode(self, raw: RawRecords) -> ControllerBatch:
        """Decode records. Nothing is counted yet, so a failed call may be repeated.

        Raises:
            ModelError: A deciding version has no feature of the amount.
            UnavailableError: A writer schema cannot be fetched now, or the control log cannot be
                read.
        """
        return decode(raw, self._numbers, self._columns, self._routings, self._unit)

    def take(self, batch: ControllerBatch) -> None:
        """Count a batch.

        Raises:
            UnavailableError: The file cannot be written. The process must restart, and read again
                from the last commit.
        """
        self._unreadable += batch.unreadable
        before, marks = self._watermark, self._advance(batch)
        grid = np.concatenate([[before // STEP_MS], marks // STEP_MS])
        steps = np.flatnonzero(np.diff(grid) > 0)
        edges = batch.decided.row[steps] + 1
        entered = dict(zip(edges.tolist(), (grid[1:][steps] * STEP_MS).tolist(), strict=True))
        counted = self._counted(batch)
        at = 0
        while at < batch.size:
            place = int(np.searchsorted(edges, at, "right"))
            stop = min([batch.size, *edges[place : place + 1].tolist(), *self._due(counted, at)])
            self._take(batch, marks, at, stop)
            decided = int(np.searchsorted(batch.decided.row, stop))
            self._watermark = int(marks[decided - 1]) if decided else before
            if stop in entered:
                self._mature(entered[stop])
            self._look()
            at = stop
        self._tell()

    def commit(self, places: Mapping[tuple[str, int], int]) -> None:
        """Store the state as of these offsets.

        Args:
            places: Next offset by topic and partition.

        Raises:
            UnavailableError: The file cannot be written.
        """
        clock = {
            "newest": self._newest.tolist(),
            "heard": self._heard.tolist(),
            "watermark": self._watermark,
        }
        notes = {_CLOCK: json.dumps(clock).encode(), _CALLS: json.dumps(self._calls).encode()}
        if self._gathering is not None:
            notes[_STATE] = self._gathering.dump()
        self._joined.commit(places, notes)

    def _routings(self, revision: int) -> Mapping[int, Routing]:
        """Return the known revisions; read the log first if ``revision`` is not known."""
        log = self._commands.log
        if revision > max(log.routings, default=0):
            self._commands.refresh()
        # Follow what was read or written since the last batch, before its first rows are counted.
        if log.state.sequence != self._followed:
            self._follow(log.state)
        return log.routings

    def _advance(self, batch: ControllerBatch) -> Int64:
        """Return int64[n], the watermark after each decision."""
        lateness = (self._commands.log.state.shared or Plan()).lateness_ms
        marks = np.empty(len(batch.decided), np.int64)
        advance(
            batch.partition, batch.decided.event_time, batch.timestamp, self._newest, self._heard,
            lateness, IDLE_MS, self._watermark, marks,
        )  # fmt: skip
        return marks

    def _counted(self, batch: ControllerBatch) -> dict[str, Int64]:
        """Return, by way, the places of the transactions that count towards its looks."""
        gathering = self._gathering
        if gathering is None:
            return {}
        in_canary = gathering.counted(batch.decisions.revision)
        in_shadow = gathering.counted_in_shadow(batch.shadows)
        return {
            CANARY_WAY: batch.decided.row[in_canary],
            SHADOW_WAY: batch.shadowed.row[in_shadow],
        }

    def _due(self, counted: Mapping[str, Int64], at: int) -> list[int]:
        """Return the places after the rows of this batch at which the next looks are due."""
        edges = []
        for way, rows in counted.items():
            place = int(np.searchsorted(rows, at))
            if self._gathering and len(rows) - place >= (due := self._gathering.until_look(way)):
                edges.append(int(rows[place + due - 1]) + 1)
        return edges

    def _take(self, batch: ControllerBatch, marks: Int64, at: int, stop: int) -> None:
        """Count the rows of a batch from ``at`` to ``stop`` - 1."""
        gathering, trial, join = self._gathering, self._trial, self._joined
        if gathering is None or trial is None:
            return
        rows = span(batch.decided.row, at, stop)
        if rows.stop > rows.start:
            decisions, source = batch.decisions.take(rows), batch.decided
            placed = gathering.decide(decisions, marks[rows])
            mine = placed.side != NO_SIDE
            join.wait(waiting(decisions, source, rows, placed, np.flatnonzero(mine), trial))
            others = gathering.counted(decisions.revision) & ~mine
            join.pass_by(source.event_time[rows][others])
        rows = span(batch.shadowed.row, at, stop)
        if rows.stop > rows.start:
            shadows = batch.shadows.take(rows)
            place = np.searchsorted(batch.decided.row, batch.shadowed.row[rows]) - 1
            behind = np.append(marks, self._watermark)
            placed = gathering.shadow(shadows, behind[place])
            join.wait(
                waiting_in_shadow(
                    shadows, batch.shadowed, rows, placed, np.flatnonzero(placed.side != NO_SIDE),
                    trial,
                )
            )  # fmt: skip
        told_rows = span(batch.told_at, at, stop)
        join.learn(batch.told.take(np.arange(told_rows.start, told_rows.stop)))
        for told in batch.timings:
            if at <= told.row < stop:
                self._time(gathering, told)

    @property
    def _unit(self) -> int:
        return 100 if self._trial is None else self._trial.minor_per_unit

    def _time(self, gathering: Gathering, told: Timings) -> None:
        """Count the calls of a Kafka transaction at its last summary; see :func:`rows_asked`."""
        arm = told.arm if told.arm in _SIDES else ""
        # Anyone who may write summaries can leave out the last one for ever.
        if len(self._calls) < _CALLS_MOST:
            self._calls.append((arm, told.seconds.get("score"), told.count))
        if not told.last or self._trial is None:
            return
        calls, self._calls = self._calls, []
        for arm, side in _SIDES.items():
            if (asked := told.seconds.get(f"score:{arm}")) is not None:
                rows = rows_asked(calls, arm, told.seconds)
                gathering.call(side, told.revision, told.timestamp, asked, rows)

    def _tell(self) -> None:
        """Report how many rows wait, and how many were left out since the last report."""
        join = self._joined
        passed, bad = join.take_passed(), self._unreadable
        self._unreadable = 0
        self._listener(
            RolloutEvidence(
                len(join), join.labels, passed.full + passed.full_labels, passed.late_labels, bad
            )
        )

    def _mature(self, until: int) -> None:
        ripe = self._joined.mature(until)
        if self._gathering is None:
            return
        self._gathering.ripen(ripe)
        for way in (CANARY_WAY, SHADOW_WAY):
            self._say(self._gathering.look_slow(way, self._watermark))

    def _look(self) -> None:
        if self._gathering is None:
            return
        for way in (CANARY_WAY, SHADOW_WAY):
            self._say(self._gathering.look(way, self._watermark))

    def _say(self, judged: Judged | None) -> None:
        if judged is not None:
            verdict = judged.judgement.verdict.value
            self._listener(RolloutJudged(judged.guard, judged.way, verdict, judged.look))
