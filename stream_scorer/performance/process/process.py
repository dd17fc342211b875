"""The performance process: one process reads decisions and labels, merged by their times.

It commits its file once a second, and then sends what the file's outbox holds. A second process of
the group fences the first.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Final

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.errors import RegistryUnavailableError, SettingsError, UnavailableError
from stream_scorer.kafka.loop.merged_topics import MergedSource
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.loop.work_interface import Outage
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.performance.measures.contract import LossCosts
from stream_scorer.performance.measures.measure import Measuring
from stream_scorer.performance.process.batches import decode
from stream_scorer.performance.process.columns import PerformanceColumns
from stream_scorer.performance.process.fold import DAY_MS, FoldOptions, PerformanceFold
from stream_scorer.performance.process.names import Names
from stream_scorer.performance.process.outbox import OutboxSender
from stream_scorer.performance.process.records import (
    loss_record,
    warning_event,
    window_record,
)
from stream_scorer.performance.process.windows import Closed
from stream_scorer.performance.store.store import OutboxRecord, PerformanceStore
from stream_scorer.performance.warning.watch import PROCESSES, WarningBudget
from stream_scorer.ports import Paused, RawRecords
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.retraining.rules.rules_file import read_rules
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.settings import Performance, Settings
from stream_scorer.telemetry import (
    BatchCommitted,
    Listener,
    PartitionsAssigned,
    PerformanceSent,
    ReplayProgress,
)

_LINGER_SECONDS: Final = 0.25
_COMMIT_SECONDS: Final = 1.0
_OFFSETS_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


class LoggedPlans:
    """The plans of revisions, by the control log.

    Args:
        log: The control log; it is read when an unknown revision is asked for.
        other: The plan of decisions that no revision made.
    """

    def __init__(self, log: ControlLog, other: Plan) -> None:
        self._log = log
        self._other = other
        self._policies: dict[int, LabelPolicy] = {}

    def plan(self, revision: int) -> Plan:
        """Return the plan of a revision; ``other`` for one that the log does not have.

        Raises:
            UnavailableError: The control log cannot be read.
        """
        if revision > max(self._log.log.routings, default=0):
            self._log.refresh()
        routing = self._log.log.routings.get(revision)
        return self._other if routing is None else routing.shared

    def newest(self) -> Plan:
        """Return the plan in force; ``other`` without one."""
        return self._log.log.state.shared or self._other

    def policy(self, revision: int) -> LabelPolicy:
        """Return the policy for the unlabelled of a revision; raises as :meth:`plan`."""
        if revision not in self._policies:
            table = self.plan(revision).label_policy
            policy = LabelPolicy.of(read_label_policy(table))
            if revision not in self._log.log.routings:
                return policy
            self._policies[revision] = policy
        return self._policies[revision]


class PerformanceLoop:
    """Folds the topics, and publishes what closed days show.

    Args:
        settings: Settings of the process; see ``Settings.of_process``.
        listener: Notified of all events.
        other: The plan of decisions that no revision made.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """

    def __init__(self, settings: Settings, listener: Listener, other: Plan) -> None:
        self._settings = settings
        self._listener = listener
        self._stopping = False
        kafka, own, topics = settings.kafka, settings.performance, settings.kafka.topics
        registry = open_registry(settings.registry)
        self._topics = (topics.decisions, topics.labels)
        with ExitStack() as opened:
            log = opened.enter_context(closing(ControlLog(settings)))
            read_patiently(log.refresh, listener)
            self._plans = LoggedPlans(log, other)
            # First the file: if a process has it, that process is not fenced.
            self._store = opened.enter_context(PerformanceStore(own.state))
            self._sender = opened.enter_context(OutboxSender(kafka, topics.decisions, listener))
            begin = self._store.places()
            source = MergedSource(
                kafka, self._topics, (topics.labels, topics.decisions), kafka.group, begin=begin
            )
            self._source = opened.enter_context(closing(source))
            source.events()
            source.resume(set(range(sum(source.counts.values()))))
            self._decided = source.counts[topics.decisions]
            listener(PartitionsAssigned(tuple(range(self._decided)), ()))
            names = Names()
            self._columns = PerformanceColumns(registry, settings.registry.directory, names)
            self._columns.read_labels_by(self._plans.newest())
            self._publish = _Publisher(settings)
            self._fold = PerformanceFold(
                self._store, names, self._decided, fold_options(own), self._plans.policy,
                self._publish.records, listener, lambda: self._columns.identity.by_time,
            )  # fmt: skip
            for partition in range(self._decided):
                # The file is the partitions' state.
                listener(ReplayProgress(partition, 0, 0))
            self._opened = opened.pop_all()
        self._reading, self._writing = Outage(listener), Outage(listener)
        self._raw: RawRecords | None = None
        self._read = 0
        self._mapped = self._plans.newest()
        self._places = begin
        self._committed = self._tried = self._sent = time.monotonic()

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
            self._send()
        finally:
            self.close()

    def close(self) -> None:
        """Close file and connections; what is not committed will be read again."""
        self._opened.close()

    def step(self) -> None:
        """Fold the next records; commit and send if it is due."""
        self._take()
        now = time.monotonic()
        if now - self._committed >= _COMMIT_SECONDS and self._raw is None:
            self._committed = now
            self._commit()
            self._send()

    def _take(self) -> None:
        if self._raw is not None and time.monotonic() - self._tried < _RETRY_SECONDS:
            time.sleep(_LINGER_SECONDS)
            return
        if self._raw is None:
            maximum = self._settings.scorer.maximum_batch
            self._raw = self._source.poll(maximum, _LINGER_SECONDS, _LINGER_SECONDS)
        if self._raw is None:
            return
        try:
            batch = decode(self._raw, self._decided, self._columns, self._plans.plan)
            # So that none has to be read from the log while the batch is being folded.
            for revision in set(batch.decisions.revision.tolist()):
                self._plans.policy(revision)
        except UnavailableError as error:
            self._tried = time.monotonic()
            missing = "registry" if isinstance(error, RegistryUnavailableError) else "control log"
            self._reading.begin(Paused(missing, str(error)))
            return
        self._reading.end()
        self._fold.take(batch)
        self._read += len(self._raw)
        self._raw = None
        self._follow()

    def _follow(self) -> None:
        """Read labels by the mapping of the plan in force."""
        newest = self._plans.newest()
        if newest != self._mapped:
            self._mapped = newest
            self._columns.read_labels_by(newest)

    def _commit(self) -> None:
        """Commit what was folded."""
        if self._raw is not None or not self._read:
            return
        self._places = self._source.positions()
        self._fold.commit(self._places)
        decided = self._topics[0]
        self._listener(
            BatchCommitted(
                records=self._read,
                outcomes={},
                model="",
                version="",
                next_offsets={p: at for (topic, p), at in self._places.items() if topic == decided},
            )
        )
        self._read = 0

    def _send(self) -> None:
        """Send what is committed, if there is anything, or the offsets if they are old."""
        if self._read or not self._places:
            return
        now = time.monotonic()
        waiting = len(self._store.outbox())
        if not waiting and now - self._sent < _OFFSETS_SECONDS and not self._stopping:
            return
        try:
            if self._sender.send(self._store, self._places, self._source.group_metadata()):
                self._sent, waiting = now, 0
            self._writing.end()
        except UnavailableError as error:
            self._writing.begin(Paused("kafka", str(error)))
        self._listener(PerformanceSent(waiting))


class _Publisher:
    """Encodes what closings found."""

    def __init__(self, settings: Settings) -> None:
        topics, directory = settings.kafka.topics, settings.registry.directory
        self._performance, self._drift = topics.performance, topics.drift_events
        self._own = settings.performance
        registry = open_registry(settings.registry)

        def codec(topic: str, name: str) -> RecordCodec:
            schema = reader_schema(name, directory)
            return RecordCodec(registry.id_for(f"{topic}-value", schema), schema)

        self._window = codec(self._performance, "performance.v1")
        self._event = codec(self._drift, "drift-event.v3")

    def records(self, closed: Closed) -> Sequence[OutboxRecord]:
        """Return the records of a closing, in their order."""
        fields = [
            window_record(each.measured, each.kind, each.policy, closed.detected_at, each.river)
            for each in closed.windows
        ]
        fields += [
            loss_record(each.day, each.log_e, each.policy, closed.detected_at)
            for each in closed.losses
        ]
        found = [
            OutboxRecord(closed.closing, self._performance, b"", self._window.encode(each))
            for each in fields
        ]
        alpha = self._own.alpha / PROCESSES
        for warned, reference in closed.warned:
            event = warning_event(warned, reference, alpha, closed.detected_at)
            key = f"{warned.key.model}:{warned.key.version}:{event['signal']}".encode()
            found.append(OutboxRecord(closed.closing, self._drift, key, self._event.encode(event)))
        return found


def fold_options(own: Performance) -> FoldOptions:
    """Return what the settings ask for.

    Raises:
        SettingsError: ``retrain.toml`` cannot be read, or has another horizon than the settings.
    """
    rules = None if own.retrain_rules is None else read_rules(own.retrain_rules)
    horizon_days = own.horizon_days
    if rules is not None:
        if "horizon_days" in own.model_fields_set and horizon_days != rules.horizon_days:
            raise SettingsError(
                f"performance.horizon_days is {horizon_days}, and horizon_days of "
                f"{own.retrain_rules} is {rules.horizon_days}",
                "leave out performance.horizon_days",
            )
        horizon_days = rules.horizon_days
    costs = LossCosts(
        own.most_cost, own.missed_share, own.missed_fixed, own.review_cost, own.false_block_cost
    )
    tolerance = own.tolerance / own.most_cost
    return FoldOptions(
        round(own.maturity_days * DAY_MS),
        own.label_slack_seconds * 1_000,
        round(own.review_days * DAY_MS),
        own.most_rows,
        Measuring(costs, own.cards_per_day),
        WarningBudget(own.alpha, horizon_days, tolerance, own.most_cost),
        own.trust_declared_draws,
        rules,
    )


def run_performance(settings: Settings, deployment: Deployment) -> None:
    """Run the process until a signal ends it.

    Args:
        settings: Settings.
        deployment: Its plan is that of decisions that no revision made.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """
    own, other = settings.of_process("performance"), deployed_plan(settings, deployment)
    run_process(
        "performance",
        own,
        own.kafka.topics.decisions,
        lambda listener: PerformanceLoop(own, listener, other),
        together=True,
        member=False,
    )
