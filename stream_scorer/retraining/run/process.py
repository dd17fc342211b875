"""The trainer: begins a retraining when one is due, and takes it through its steps.

One process trains at a time: its folder is locked, and of several hosts the leader of the group
trains. A step runs in a thread of its own, so that the process stays in its group during a long
fit. A signal ends the process within a step; the next process repeats that step.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.loop.leader import Leadership
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.loop.work_interface import Outage
from stream_scorer.models.stores.remote import open_store
from stream_scorer.ports import Paused
from stream_scorer.processes.run_process import run_process
from stream_scorer.retraining.rules.contract import RetrainRules
from stream_scorer.retraining.rules.delta import tolerated_cost
from stream_scorer.retraining.rules.rules_file import chosen_rules
from stream_scorer.retraining.rules.triggers import (
    GuardResult,
    RetrainTrigger,
    Situation,
    first_day,
    guards,
    wanted,
)
from stream_scorer.retraining.run.contract import ENDED, Run
from stream_scorer.retraining.run.evidence import read_alarm, read_days, read_faults
from stream_scorer.retraining.run.proposals import grant_refusal
from stream_scorer.retraining.run.state_files import RunStore
from stream_scorer.retraining.run.steps import advance
from stream_scorer.retraining.run.store import next_version
from stream_scorer.retraining.run.work import TrainerWork
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.granted_plans import champion_of
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.keys import key_id, signing_key
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RetrainEnded, RetrainHeld, RetrainStepped

_POLL_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 2.0


def now_ms() -> int:
    """Return the time, ms since the epoch."""
    return time.time_ns() // 1_000_000


class Trainer:
    """Reads the situation, and does one step after another. Not thread-safe.

    Args:
        settings: Of the process.
        rules: The rules of retraining.
        store: Its folder, which this process holds.
        listener: Notified of all events.

    Raises:
        SettingsError: There is no key, or the model store cannot be written to.
        StreamScorerError: The control log cannot be read.
    """

    def __init__(
        self, settings: Settings, rules: RetrainRules, store: RunStore, listener: Listener
    ) -> None:
        key = signing_key(settings.retrain.key, settings.retrain.passphrase)
        if key is None:
            raise SettingsError(
                "retrain.key: a trainer signs its bundles and plans",
                "make one: stream-scorer models keygen, and let an operator grant it",
            )
        self._settings = settings
        self._rules = rules
        self._store = store
        self._listener = listener
        self.key_id = key_id(key.public_key())
        self._since = now_ms()
        self.log = ControlLog(settings)
        try:
            read_patiently(self.log.refresh, listener)
            audit = open_audit(settings.audit)
            self._work = TrainerWork(settings, rules, self.log, key, store.directory, audit)
        except BaseException:
            self.log.close()
            raise

    def close(self) -> None:
        """Close the control log."""
        self.log.close()

    def turn(self) -> bool:
        """Do the next step, or begin a retraining if one is due; return whether anything was done.

        Raises:
            UnavailableError: Broker, registry or store do not answer: it is to be tried again.
        """
        run = self._store.current()
        if run is None:
            run = self._begun()
            if run is None:
                return False
            self._store.write(run)
            self._store.answered()
            self._told(run)
            return True
        self.log.refresh()
        after = advance(run, self._work, self._store.write)
        if after == run:
            return False
        if after.step in ENDED:
            after = replace(after, ended_at=now_ms())
            self._store.close(after)
            self._listener(RetrainEnded(after.number, after.step, after.reason))
        else:
            self._store.write(after)
        self._told(after)
        return True

    def _told(self, run: Run) -> None:
        self._listener(RetrainStepped(run.number, run.step, run.trigger, run.reason))

    def situation(self) -> Situation:
        """Read what decides whether a retraining begins.

        Raises:
            UnavailableError: Broker or registry do not answer.
        """
        state = self.log.refresh()
        return situation_of(
            self._settings, state, self._rules, self._store, self.key_id, self._since
        )  # fmt: skip

    def _begun(self) -> Run | None:
        """Return a retraining that is due; None if none is, or a guard holds it back."""
        found = self.situation()
        trigger = wanted(found, self._rules)
        if trigger is None:
            self._listener(RetrainHeld("", ()))
            return None
        held = [each for each in guards(found, self._rules, trigger.onset_ms) if not each.passed]
        self._listener(RetrainHeld(trigger.kind, tuple(map(told, held))))
        return None if held else self._run(found, trigger)

    def _run(self, found: Situation, trigger: RetrainTrigger) -> Run:
        model = found.champion.partition(":")[0]
        version = next_version(
            open_store(self._settings.models), self.log.log.state.named, model
        )  # fmt: skip
        rows = [each.rows for each in found.days]
        return Run(
            number=max((each.number for each in self._store.history()), default=0) + 1,
            step="triggered", reason=trigger.reason, trigger=trigger.kind, began_at=found.now_ms,
            parent=found.champion, version=version,
            first_ms=first_day(found, self._rules, trigger.onset_ms), end_ms=found.days[-1].end_ms,
            tolerance=tolerated_cost(self._rules.cost, self._rules.horizon_days, rows),
        )  # fmt: skip


def told(guard: GuardResult) -> str:
    """Return a guard's result for people."""
    return f"{guard.name}: {guard.value}, needs {guard.needed}"


def situation_of(
    settings: Settings,
    state: RolloutState,
    rules: RetrainRules,
    store: RunStore,
    key: str,
    since: int,
) -> Situation:
    """Read the topics and the folder; see :class:`Situation`.

    Args:
        settings: The cluster.
        state: Of the control log, read to its end.
        rules: The rules.
        store: The trainer's folder.
        key: Id of the trainer's key.
        since: When the process began, ms.
    """
    champion, now = champion_of(state), now_ms()
    model = champion.partition(":")[0]
    history = store.history()
    found = Situation(
        now_ms=now, champion=champion, days=read_days(settings, model),
        alarm=read_alarm(settings, champion), asked=store.asked(), running=state.running,
        faults=(), grant=grant_refusal(state, key, now, rules.ramp[-1]),
        began_at=max([state.trained_at, *(each.began_at for each in history)]), since_ms=since,
    )  # fmt: skip
    # The monitor's snapshot is read only where it counts.
    return found if wanted(found, rules) is None else replace(found, faults=read_faults(settings))


class RetrainLoop:
    """Runs a trainer while it is the leader.

    Args:
        settings: Of the process; see ``Settings.of_process``.
        rules: The rules of retraining.
        listener: Notified of all events.

    Raises:
        SettingsError: Another process has the folder; likewise :class:`Trainer`.
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """

    def __init__(self, settings: Settings, rules: RetrainRules, listener: Listener) -> None:
        self._stopping = False
        self._topic = settings.kafka.topics.rollout
        store = RunStore(settings.retrain.directory)
        with ExitStack() as opened:
            if not opened.enter_context(store.locked()):
                raise SettingsError(
                    f"retrain.directory {store.directory}: another process has it",
                    "end it, or ask it: stream-scorer retrain once",
                )
            trainer = Trainer(settings, rules, store, listener)
            self._trainer = opened.enter_context(closing(trainer))
            leadership = Leadership(settings.kafka, self._topic, listener)
            self._leadership = opened.enter_context(closing(leadership))
            self._opened = opened.pop_all()
        self._outage = Outage(listener)
        self._turning: threading.Thread | None = None
        self._error: Exception | None = None
        self._idle = False
        self._next = 0.0

    def stop(self) -> None:
        """End; safe in a signal handler. A step that is under way will be repeated."""
        self._stopping = True

    def run(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Run until ``stop``."""
        try:
            while not self._stopping:
                heartbeat()
                self._step(leads=self._leadership.poll())
                time.sleep(_POLL_SECONDS)
        finally:
            # A thread within a step still uses the log; the process ends with it.
            if self._turning is None:
                self._opened.close()

    def _step(self, *, leads: bool) -> None:
        if self._turning is not None:
            if self._turning.is_alive():
                return
            self._turning = None
            self._judge()
        if leads and time.monotonic() >= self._next:
            self._turning = threading.Thread(target=self._turn, name="retraining", daemon=True)
            self._turning.start()

    def _turn(self) -> None:
        self._error = None
        try:
            self._idle = not self._trainer.turn()
        except Exception as error:  # noqa: BLE001 the loop's thread judges it
            self._error = error

    def _judge(self) -> None:
        """Judge the turn that has ended, and plan the next one."""
        error = self._error
        if error is None:
            # The group's lag is that of the control log.
            self._leadership.note({(self._topic, 0): self._trainer.log.log.last_offset + 1})
            self._outage.end()
            self._next = time.monotonic() + (LOOK_SECONDS if self._idle else 0.0)
            return
        if not isinstance(error, UnavailableError):
            raise error
        self._outage.begin(Paused("broker", str(error)))
        self._next = time.monotonic() + _RETRY_SECONDS


def run_retraining(settings: Settings, rules: Path | None) -> None:
    """Run a trainer until a signal ends it.

    Args:
        settings: The cluster, the store and the key.
        rules: ``retrain.toml``; None: the one that the settings name.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """
    own, read = settings.of_process("retrain"), chosen_rules(settings, rules)
    run_process(
        "retrain", own, own.kafka.topics.rollout, lambda listener: RetrainLoop(own, read, listener)
    )
