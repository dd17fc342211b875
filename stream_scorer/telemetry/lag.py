"""What the process of ``lag --serve`` reports of consumer groups."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

_PARTITION = ("group", "topic", "partition")


@dataclass(frozen=True, slots=True)
class LagPassed(Event):
    """All groups were looked at once.

    Its metrics are those of the last pass as a whole: ``lag.watch.series`` shows them.
    """

    LAG = Gauge(
        "group_lag_records", "Records from the committed offset to the log end.", *_PARTITION
    )
    STABLE = Gauge(
        "group_lag_stable_records",
        "Records from the committed offset to the last stable offset, or to the log end of a group "
        "that reads uncommitted records: those that it can read now.",
        *_PARTITION,
    )
    SECONDS = Gauge(
        "group_lag_seconds",
        "Seconds since the oldest record that is not committed was appended; no series while it "
        "is not known.",
        *_PARTITION,
    )
    EVENT_SECONDS = Gauge(
        "group_lag_event_age_seconds",
        "Seconds since the event time of the oldest record that is not committed, where it is a "
        "transaction of ours.",
        *_PARTITION,
    )
    INPUT = Gauge("group_input_records_per_second", "Records appended per second.", *_PARTITION)
    OUTPUT = Gauge("group_output_records_per_second", "Records committed per second.", *_PARTITION)
    DRAIN = Gauge(
        "group_drain_seconds",
        "Seconds until the lag is gone at these rates; +Inf: it does not shrink, or a transaction "
        "hangs. No series while the partition is OK and its lag does not shrink, or is at most "
        "what the group reads in an interval.",
        *_PARTITION,
    )
    VERDICT = Gauge("group_verdict", "1 for the verdict that holds.", *_PARTITION, "verdict")
    OWNER = Gauge("group_owner_info", "1 for the member that owns it.", *_PARTITION, "owner")
    LOST = Counter(
        "group_lost_records",
        "Records deleted before the group read them.",
        *_PARTITION,
    )
    PARTITIONS = Gauge("group_partitions", "Partitions by verdict.", "group", "topic", "verdict")
    MEMBERS = Gauge("group_members", "Members of the group.", "group")
    GROUP = Gauge(
        "group_worst_verdict",
        "1 for the heaviest verdict of the group's partitions; UNKNOWN without any.",
        "group",
        "verdict",
    )
    START = Gauge("topic_start_offset", "First retained offset.", "topic", "partition")
    STABLE_END = Gauge("topic_stable_offset", "Last stable offset.", "topic", "partition")
    END = Gauge("topic_end_offset", "High watermark.", "topic", "partition")
    SKEW = Gauge(
        "topic_skew_seconds",
        "Seconds by which a record's timestamp is after (+) or before (-) the interval in which it "
        "was appended.",
        "topic",
    )
    OPEN = Gauge(
        "open_transaction_seconds",
        "Age of a transaction that keeps a partition's records from being read.",
        "topic",
        "partition",
        "transactional_id",
        "producer_id",
    )
    PASS_SECONDS = Gauge("lag_pass_seconds", "How long the last pass took.")
    PASS_TIME = Gauge(
        "lag_pass_time_seconds",
        "When the last pass in which the brokers answered ended, seconds since the epoch.",
    )
    GROUPS_LEFT_OUT = Gauge(
        "lag_groups_left_out",
        "Groups that match a pattern of lag.groups and are not watched: more than lag.groups_max, "
        "or with a name of more than 200 characters.",
    )
    LEFT_OUT = Gauge(
        "lag_series_left_out", "Partitions whose own series are left out: see lag.series_max."
    )

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: the last pass is shown as a whole."""
        return ()


@dataclass(frozen=True, slots=True)
class LagFailed(Event):
    """A look, a count or a comparison failed: brokers or registry did not answer.

    Attributes:
        detail: Why.
        what: What failed: each kind of failure has its log line, so that none hides another.
    """

    detail: str
    what: str = "look"

    FAILURES = Counter(
        "lag_failures",
        "Looks, counts and comparisons that failed, because brokers or registry did not answer.",
    )
    LINE = Line("lag_not_observed", "LagProcessAbsent", per=("what",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.FAILURES, 1
        yield self.LINE


@dataclass(frozen=True, slots=True)
class SloCounted(Event):
    """Records of the service level objective became due.

    Attributes:
        group: The group that decides them.
        topic: Its input.
        good: Decided in time.
        bad: Not decided in time.
        unmeasured: Neither: nothing was observed.
        time: Of the look, seconds since the epoch.
    """

    group: str
    topic: str
    good: int
    bad: int
    unmeasured: int
    time: float

    TIME = Gauge(
        "slo_time_seconds",
        "When records were last counted for the objective, seconds since the epoch.",
        "group",
        "topic",
    )
    RECORDS = Counter(
        "slo_records",
        "Records whose age reached the limit of the service level objective: good, bad, or "
        "unmeasured while nothing was observed.",
        "group",
        "topic",
        "result",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.RECORDS, self.good, self.group, self.topic, "good"
        yield self.RECORDS, self.bad, self.group, self.topic, "bad"
        yield self.RECORDS, self.unmeasured, self.group, self.topic, "unmeasured"
        yield self.TIME, self.time, self.group, self.topic


@dataclass(frozen=True, slots=True)
class RecordsReconciled(Event):
    """Input offsets of one partition were compared with the outputs.

    Attributes:
        group: The group of the scorers.
        topic: Their input.
        partition: Its partition; None: a round of all partitions ended, or the process is about to
            begin. The time counts from then on: one that never succeeds would have none.
        decided: Offsets with a decision.
        rejected: Offsets with a dead letter.
        skipped: Records that are not transactions.
        gaps: Offsets that are not records.
        missing: Records without an output.
        doubled: Outputs of a record that already had one.
        offset: The next offset to be compared; None: nothing was compared yet.
        time: Of the comparison, seconds since the epoch; None: nothing was compared. Counting that
            begins again after a failure must not look like a comparison.
    """

    group: str
    topic: str
    partition: int | None
    decided: int = 0
    rejected: int = 0
    skipped: int = 0
    gaps: int = 0
    missing: int = 0
    doubled: int = 0
    offset: int | None = None
    time: float | None = None

    OFFSETS = Counter(
        "reconciled_offsets",
        "Committed input offsets that were compared with the outputs, by result; gap: not a record "
        "(transaction marker, aborted). doubled counts outputs of a record that already had one.",
        *_PARTITION,
        "result",
    )
    NEXT = Gauge(
        "reconciled_next_offset", "All input before this offset was compared.", *_PARTITION
    )
    TIME = Gauge(
        "reconciled_time_seconds",
        "When input was last compared with outputs, seconds since the epoch.",
        "group",
        "topic",
    )
    LINE = Line("records_not_reconciled", "RecordsUnaccounted", "error", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        if self.time is not None:
            yield self.TIME, self.time, self.group, self.topic
        if self.partition is None:
            return
        at = self.group, self.topic, self.partition
        yield self.OFFSETS, self.decided, *at, "decided"
        yield self.OFFSETS, self.rejected, *at, "rejected"
        yield self.OFFSETS, self.skipped, *at, "skipped"
        yield self.OFFSETS, self.gaps, *at, "gap"
        yield self.OFFSETS, self.missing, *at, "missing"
        yield self.OFFSETS, self.doubled, *at, "doubled"
        if self.offset is not None:
            yield self.NEXT, self.offset, *at
        if self.missing or self.doubled:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class WatermarkSeen(Event):
    """A transaction of a scorer reported the newest event time of a partition.

    Attributes:
        group: The group of the scorers.
        topic: Their input.
        partition: Its partition.
        time: Seconds since the epoch.
    """

    group: str
    topic: str
    partition: int
    time: float

    WATERMARK = Gauge(
        "event_time_watermark_seconds",
        "Newest event time of a decided record, seconds since the epoch.",
        *_PARTITION,
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.WATERMARK, self.time, self.group, self.topic, self.partition


@dataclass(frozen=True, slots=True)
class OutputsUnreadable(Event):
    """Records in the topics of decisions, dead letters and summaries could not be read."""

    records: int

    UNREADABLE = Counter(
        "outputs_unreadable",
        "Records in the output topics that are not decisions, dead letters and summaries.",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.UNREADABLE, self.records


@dataclass(frozen=True, slots=True)
class LettersCounted(Event):
    """The dead letters of a partition that were not replayed yet were counted.

    Attributes:
        topic: The topic of dead letters.
        partition: Its partition.
        waiting: How many, by reject reason; ``*`` for all that this version does not know.
        oldest: When the oldest that `dlq replay` takes was rejected, seconds since the epoch; None:
            there is none.
    """

    topic: str
    partition: int
    waiting: Mapping[str, int]
    oldest: float | None

    WAITING = Gauge(
        "dead_letters_waiting",
        "Dead letters that were not replayed yet. Those with the reasons DUPLICATE and UNREADABLE "
        "stay, unless `dlq replay --reason` names them. `*`: reasons that this version does not "
        "know.",
        "topic",
        "partition",
        "reason",
    )
    OLDEST = Gauge(
        "dead_letters_oldest_time_seconds",
        "When the oldest dead letter that waits for `dlq replay` was rejected, seconds since the "
        "epoch; no series if none waits.",
        "topic",
        "partition",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        for reason, count in self.waiting.items():
            yield self.WAITING, count, self.topic, self.partition, reason
        yield self.OLDEST, self.oldest, self.topic, self.partition
