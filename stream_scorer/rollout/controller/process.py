"""The controller process: judges the rollout of the control log, and moves it.

Every instance folds the same topics into its own file. The leader of the group writes to the
control log. So a standby that takes over has the state of its predecessor. If two instances both
act as the leader, the log accepts the first command and refuses the second.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from confluent_kafka.admin import OffsetSpec

from stream_scorer.errors import RegistryUnavailableError, RolloutError, UnavailableError
from stream_scorer.kafka.loop.leader import Leadership
from stream_scorer.kafka.loop.merged_topics import MergedSource
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.loop.work_interface import Outage
from stream_scorer.kafka.topics.offsets import admin, offsets, partitions
from stream_scorer.models.bundles.bundle import Manifest, read_manifest
from stream_scorer.models.stores.choose_version import finder
from stream_scorer.models.stores.remote import open_store
from stream_scorer.ports import Paused, RawRecords
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import open_registry
from stream_scorer.rollout.controller.batches import Numbers
from stream_scorer.rollout.controller.columns import EvidenceColumns
from stream_scorer.rollout.controller.decide import trial_of
from stream_scorer.rollout.controller.fold import Controlling
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.keys import key_id, signing_key
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import BatchCommitted, Listener, RolloutHeld, RolloutMoved

_LINGER_SECONDS = 0.25
_COMMIT_SECONDS = 1.0
_ACT_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_NOTHING: RawRecords | None = None
_MARGIN_MS = 3_600_000
"""How far the clock of the command that began the rollout may be ahead of the scorers', ms."""


class ControllerLoop:
    """Folds the topics, and acts while it is the leader.

    Args:
        settings: Settings of the process; see ``Settings.of_process``.
        listener: Notified of all events.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._stopping = False
        kafka, own = settings.kafka, settings.controller
        self._key = signing_key(own.key, own.passphrase)
        topics = (
            kafka.topics.decisions, kafka.topics.shadow_scores, kafka.topics.summaries,
            kafka.topics.labels,
        )  # fmt: skip
        self._audit = open_audit(settings.audit)
        with ExitStack() as opened:
            self._log = opened.enter_context(closing(ControlLog(settings)))
            read_patiently(self._log.refresh, listener)
            found = partitions(admin(kafka), kafka, topics)
            decided, shadowed, summed, labelled = (len(found[topic]) for topic in topics)
            controlling = Controlling(
                self._log,
                _columns(settings),
                Numbers(topics, (decided, shadowed, summed, labelled)),
                own.state,
                own.label_slack_seconds * 1_000,
                own.most_rows,
                listener,
            )
            self._controlling = opened.enter_context(closing(controlling))
            begin = self._controlling.places() or self._beginning(kafka, found)
            first = (topics[3], topics[0], topics[1], topics[2])
            source = MergedSource(kafka, topics, first, kafka.group, begin=begin)
            self._source = opened.enter_context(closing(source))
            self._source.events()
            self._source.resume(set(range(decided + shadowed + summed + labelled)))
            leadership = Leadership(kafka, kafka.topics.rollout, listener)
            self._leadership = opened.enter_context(closing(leadership))
            self._opened = opened.pop_all()
        self._reading, self._writing = Outage(listener), Outage(listener)
        self._raw = _NOTHING
        self._behind: dict[tuple[str, int], int] | None = None
        self._folded = 0
        self._committed = self._acted = self._tried = time.monotonic()

    def _beginning(self, kafka: Kafka, found: dict[str, list[int]]) -> dict[tuple[str, int], int]:
        """Return where a new file begins: at the rollout's beginning, or without one at the end."""
        places = [(topic, number) for topic, numbers in found.items() for number in numbers]
        client = admin(kafka)
        ends = offsets(client, kafka, places, OffsetSpec.latest(), stable=True)
        log = self._log.log
        if trial_of(log.state) is None:
            return ends
        began = log.accepted(log.state.plan_revision).at
        spec: Any = OffsetSpec.for_timestamp(max(began - _MARGIN_MS, 0))
        first = offsets(client, kafka, places, spec)
        return {place: at if at >= 0 else ends[place] for place, at in first.items()}

    # -- the loop -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Commit what was folded, and end; safe in a signal handler."""
        self._stopping = True

    def run(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Run until ``stop``."""
        try:
            while not self._stopping:
                heartbeat()
                self.step()
            self._commit()
        finally:
            self.close()

    def close(self) -> None:
        """Close file and connections; what is not committed will be read again."""
        self._opened.close()

    def step(self) -> None:
        """Fold the next records, commit if it is due, and act if it is due."""
        leads = self._leadership.poll()
        self._fold()
        now = time.monotonic()
        if self._folded and now - self._committed >= _COMMIT_SECONDS:
            self._commit()
        if not leads:
            self._behind = None
        elif now - self._acted >= _ACT_SECONDS and self._raw is None:
            self._acted = now
            try:
                if self._caught_up():
                    self.act()
                self._writing.end()
            except UnavailableError as error:
                self._writing.begin(Paused("control log", str(error)))

    def _fold(self) -> None:
        if self._raw is not None and time.monotonic() - self._tried < _RETRY_SECONDS:
            time.sleep(_LINGER_SECONDS)
            return
        if self._raw is None:
            maximum = self._settings.scorer.maximum_batch
            self._raw = self._source.poll(maximum, _LINGER_SECONDS, _LINGER_SECONDS)
        if self._raw is None:
            return
        try:
            batch = self._controlling.decode(self._raw)
        except UnavailableError as error:
            self._tried = time.monotonic()
            missing = "registry" if isinstance(error, RegistryUnavailableError) else "control log"
            self._reading.begin(Paused(missing, str(error)))
            return
        self._reading.end()
        self._controlling.take(batch)
        self._folded += len(self._raw)
        self._raw = None

    def _commit(self) -> None:
        """Commit what was folded."""
        if self._raw is not None or not self._folded:
            return
        places = self._source.positions()
        self._controlling.commit(places)
        self._leadership.note(places)
        decisions = self._settings.kafka.topics.decisions
        self._listener(
            BatchCommitted(
                records=self._folded,
                outcomes={},
                model="",
                version="",
                next_offsets={p: at for (topic, p), at in places.items() if topic == decisions},
            )
        )
        self._folded = 0
        self._committed = time.monotonic()

    def _caught_up(self) -> bool:
        """Whether all records that existed when this process became the leader are folded."""
        if self._behind is None:
            self._behind = self._source.ends()
        return self._source.reached(self._behind)

    def act(self) -> None:
        """Write what is due to the control log; after another command, the next call decides again.

        Raises:
            UnavailableError: The control log cannot be read or written.
        """
        self._commit()
        head, verdicts, action = self._controlling.due()
        if verdicts and self._said(CommandKind.VERDICT, verdicts[0], head):
            for verdict in verdicts[1:]:
                self._said(CommandKind.VERDICT, verdict, head)
            head, verdicts, action = self._controlling.due()
        if (command := action.command) is not None and not verdicts and self._said(*command, head):
            kind = action.kind or command[0]
            self._listener(RolloutMoved(kind.value, action.propose, action.told))

    def _said(self, kind: CommandKind, body: StrictModel, head: bytes) -> bool:
        """Write one command that was decided at ``head``; return whether it was accepted."""
        plan = self._log.log.state.plan
        named = plan.controller.key_id if plan and plan.controller else ""
        if named and (self._key is None or key_id(self._key.public_key()) != named):
            why = f"the plan's controller has the key {named}, and controller.key is another"
            self._listener(RolloutHeld(kind.value, why))
            return False
        subject = plan.name if plan else ""
        actor = f"key:{named}" if named else None
        # The audit log comes first: it has every command that is written.
        said = body.model_dump(mode="json")
        self._audit.record(f"rollout.{kind.value}", subject, said, actor)
        try:
            self._log.append(kind, body, self._key if named else None, expected=head)
        except RolloutError as error:
            told = {"kind": kind.value, "why": error.what}
            self._audit.record("rollout.refused", subject, told, actor)
            self._listener(RolloutHeld(kind.value, error.what))
            return False
        return True


def _columns(settings: Settings) -> EvidenceColumns:
    store = open_store(settings.models)

    def manifests() -> Callable[[str], Manifest]:
        find = finder(store)
        return lambda label: read_manifest(find(label))

    registry = open_registry(settings.registry)
    return EvidenceColumns(registry, settings.registry.directory, manifests)


def run_controller(settings: Settings) -> None:
    """Run a controller until a signal ends it.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """
    own = settings.of_process("controller")
    topics = own.kafka.topics
    run_process(
        "controller",
        own,
        topics.rollout,
        lambda listener: ControllerLoop(own, listener),
        together=True,
        lagging=topics.decisions,
    )
