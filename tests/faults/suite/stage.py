"""The environment of a kind of fault: its own topics and group, load, live reader and verdict."""

import os
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet as pq
from confluent_kafka import Consumer, ConsumerGroupType, TopicPartition

from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.settings import Kafka, Topics
from tests.faults.suite.brokers import Ground
from tests.faults.suite.supervised_scorers import Order, SupervisedScorers
from tests.faults.suite.traffic import Feed, Ledger, traffic
from tests.faults.verifier.judge import Evidence, Verdict, judge, judge_state
from tests.faults.verifier.reader import LiveReader, read_to_end
from tests.faults.verifier.replay import WHOLE, History, Remembered
from tests.faults.verifier.segments import Logs, PartitionLog, read_partition
from tests.support.faults import reference_run
from tests.support.faults.process import COMMAND, ScorerProcess, environment, wait_until
from tests.support.faults.proxy import Api, Fault, Proxy
from tests.support.faults.reference_run import Record

RESUME_SECONDS = 60.0
_EXPORT_SECONDS = 240.0


class Stage:
    """The environment of a kind of fault; its processes are killed at the context's end.

    Args:
        ground: The cluster.
        seed: Seed of the random numbers.
        folder: Folder of the logs.

    Attributes:
        ground: The cluster.
        random: Random numbers from the seed.
        kafka: The scorers' settings.
        inside: The same settings, but with the broker's own address instead of the proxy's.
        scorers: They all run ``fraud:1.0.0``, because the verifier's replay computes its features.
        ledger: The records that were sent.
        live: The reader that reads the outputs while faults happen.
        proofs: What showed that the fault happened, and how often it did.
        resume_seconds: From the fault's end to the first commit after it in the slowest partition.
        evidence: The data of the verdict, after ``finish``.
        verdict: The verifier's verdict; None before ``finish``.
        on_start: Called when the load and the first scorer run.
        on_resumed: Called at the end, while load and scorers still run.
        remembers_ms: Maximum age in ms of the events of the state that are judged; None: all are.
    """

    remembers_ms: int | None = None

    def __init__(self, ground: Ground, seed: int, folder: Path) -> None:
        unique = uuid.uuid4().hex[:8]
        topics = {name: f"{unique}-{field.default}" for name, field in Topics.model_fields.items()}
        self.ground = ground
        self.random = random.Random(seed)  # noqa: S311 faults, not secrets
        self.kafka = Kafka(
            bootstrap=ground.kafka.bootstrap,
            group=f"group-{unique}",
            instance="0",
            topics=Topics(**topics),
            session_timeout_ms=6_000,
            socket_timeout_ms=3_000,
        )
        self.inside = self.kafka.model_copy(update={"bootstrap": ground.kafka.internal_bootstrap})
        self.folder = folder
        self.ledger = Ledger()
        self.proofs: list[tuple[int, str]] = []
        self.resume_seconds = 0.0
        self.verdict: Verdict | None = None
        self._stack = ExitStack()
        self.scorers = SupervisedScorers(folder)
        self._stack.callback(self.scorers.close)
        self.on_start: Callable[[], None] = lambda: None
        self.on_resumed: Callable[[], None] = lambda: None
        self._over: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        create_topics(self.inside, reference_run.PARTITIONS)
        self.live = LiveReader(self.inside.bootstrap, self.outputs)
        self._stack.callback(self.live.close)
        self.live.start()
        self.feed = self.feed_of(self.load())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self.feed.is_alive():
            self.feed.stop()

    def load(self) -> Iterable[Record]:
        """Return the records of the load."""
        return traffic()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The topics that the live reader reads."""
        topics = self.kafka.topics
        return topics.decisions, topics.dead_letters, topics.summaries

    @property
    def source(self) -> str:
        """The input topic."""
        return self.kafka.topics.transactions

    # -- scorers -----------------------------------------------------------------------------

    def settle(self, **changes: Any) -> None:
        """Change the scorers' settings; call it before the first one starts."""
        self.kafka = self.kafka.model_copy(update=changes)
        self.inside = self.inside.model_copy(
            update={name: value for name, value in changes.items() if name != "bootstrap"}
        )

    def scorer(
        self,
        *hooks: str,
        instance: str = "0",
        variables: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        wait: bool = True,
    ) -> ScorerProcess:
        """Start a scorer, and wait until it is ready.

        Args:
            hooks: Hooks for tests, see ``suite/scorer_with_hooks.py``.
            instance: Its instance name.
            variables: Further environment variables.
            arguments: Further arguments.
            wait: Whether to wait.
        """
        order = Order(self.kafka, hooks, instance, variables or {}, arguments)
        scorer = self.scorers.start(order)
        if wait:
            scorer.wait_ready()
        return scorer

    def start(self, *hooks: str, **options: Any) -> ScorerProcess:
        """Start the load and the first scorer, and wait until it commits."""
        scorer = self.scorer(*hooks, **options)
        self.feed.start()
        self.wait_decided(200)
        self.on_start()
        return scorer

    def feed_of(self, records: Iterable[Record], **options: Any) -> Feed:
        """Return a feed of the input topic."""
        bootstrap, seen = self.inside.bootstrap, self.live.seen
        return Feed(bootstrap, self.source, self.ledger, records, lambda: len(seen), **options)

    def feed_on(self) -> None:
        """Continue a stopped load with a new producer, which reads the topic's metadata again."""
        self.feed = self.feed_of(self.feed.left)
        self.feed.start()

    def wait_decided(self, count: int) -> None:
        """Wait for this many further outcomes."""
        goal = len(self.live.seen) + count

        def decided() -> bool:
            self.scorers.supervise()
            assert not self.feed.over, "the load was over before the fault"
            return len(self.live.seen) >= goal

        wait_until(decided, lambda: f"{count} outcomes more: {self.said}")

    @property
    def said(self) -> str:
        """The scorers' output."""
        return self.scorers.said

    def stop(self, scorer: ScorerProcess) -> None:
        """Stop a scorer gracefully."""
        self.scorers.stop(scorer)

    @property
    def partitions(self) -> int:
        """Number of the input's partitions."""
        return reference_run.PARTITIONS

    def assigned(self, scorer: ScorerProcess) -> float:
        """Return the number of a scorer's input partitions, by its metric; 0 while it starts."""
        try:
            return scorer.metric("stream_scorer_partitions_assigned") or 0
        except OSError:
            return 0

    def group_type(self) -> ConsumerGroupType:
        """Return the protocol of the scorers' group, as the broker reports it."""
        found = Groups(self.inside).described(self.kafka.group)
        assert found is not None
        kind: ConsumerGroupType = found.type
        return kind

    # -- the fault ---------------------------------------------------------------------------

    def fired(self, count: int, proof: str) -> None:
        """Record a proof that the fault happened.

        Raises:
            AssertionError: It did not happen.
        """
        assert count > 0, f"the fault did not happen: no {proof}"
        self.proofs.append((count, proof))

    @property
    def proxy(self) -> Proxy:
        """The proxy in front of the broker."""
        assert self.ground.proxy is not None
        return self.ground.proxy

    def lose_end_of_transaction(self) -> Fault:
        """Drop the next request that ends a transaction, and all its retries."""
        return self.proxy.fault(Api.END_TXN, "request", "drop", 1_000)

    def aborts(self) -> int:
        """Return the number of abort markers in the broker's log of the decisions."""
        logs = self._decision_logs().values()
        return sum(not marker.committed for log in logs for marker in log.markers)

    def _decision_logs(self) -> dict[int, PartitionLog]:
        topic = self.kafka.topics.decisions
        return {p: read_partition(self.ground.replicas, topic, p) for p in range(self.partitions)}

    def fault_over(self) -> None:
        """Record that the fault is over, so that ``wait_resumed`` can measure from now."""
        self._over = (time.monotonic(), time.time() * 1_000)

    def _resumed(self) -> dict[int, float]:
        """Return when each partition's first decision that was made after the fault arrived."""
        assert self._over is not None
        since, since_ms = self._over
        first: dict[int, float] = {}
        for seen in reversed(self.live.seen):
            if seen.at < since:
                break
            if seen.topic == self.kafka.topics.decisions and seen.timestamp >= since_ms:
                first[seen.partition] = seen.at
        return first

    # -- the end -----------------------------------------------------------------------------

    def finish(
        self,
        *,
        history: History = WHOLE,
        aborted: Collection[tuple[int, int]] = (),
        without: Collection[str] = (),
        deleted: Collection[tuple[int, int]] = (),
    ) -> Verdict:
        """Wait until commits resume and all is decided, end the scorers, and judge the outputs.

        Args:
            history: What an operator did to the customers' histories.
            aborted: (partition, offset) of input records that no read-committed reader gets.
            without: Outputs that the fault deleted.
            deleted: (partition, offset) of input records that retention deleted before a read.
        """
        self.wait_resumed()
        self.on_resumed()
        self.feed.stop()
        self.ledger.locate(
            lambda: read_to_end(self.inside.bootstrap, [self.source], "read_uncommitted")
        )
        self.wait_committed(self.ends(aborted))
        self.scorers.stop_all()
        return self._judge(history, without, deleted)

    def wait_resumed(self) -> None:
        """Wait until each partition has a decision that was made after the fault."""
        if self._over is None:
            return
        everywhere = set(range(reference_run.PARTITIONS))

        def resumed() -> bool:
            self.scorers.supervise()
            return self._resumed().keys() == everywhere

        wait_until(
            resumed,
            lambda: f"commits resume in every partition: {self.said}",
            RESUME_SECONDS,
        )
        self.resume_seconds = max(self._resumed().values()) - self._over[0]

    @property
    def committed(self) -> dict[int, int]:
        """The group's committed offsets, by partition."""
        return reference_run.committed(self.inside)

    def wait_committed(self, ends: Mapping[int, int]) -> None:
        """Wait until the group has committed these offsets, by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.inside.bootstrap, "group.id": self.kafka.group}
        )
        places = [TopicPartition(self.source, p) for p in ends]

        left: dict[int, int] = {}

        def all_committed() -> bool:
            self.scorers.supervise()
            found = consumer.committed(places, 30)
            left.update({place.partition: ends[place.partition] - place.offset for place in found})
            return all(records <= 0 for records in left.values())

        try:
            wait_until(
                all_committed,
                lambda: f"everything is committed: {left} to go: {self.scorers.state()}",
            )
        finally:
            consumer.close()

    def ends(self, aborted: Iterable[tuple[int, int]] = ()) -> dict[int, int]:
        """Return, by partition, the offset after the last record that is not aborted."""
        gone = set(aborted)
        ends: dict[int, int] = {}
        for record in self.ledger.sent():
            if record.source not in gone:
                ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
        return ends

    def _judge(
        self, history: History, without: Collection[str], deleted: Collection[tuple[int, int]]
    ) -> Verdict:
        topics = [topic for topic in self.outputs if topic not in without]
        final = read_to_end(self.inside.bootstrap, topics)
        places = {seen.place for seen in final}

        def caught_up() -> bool:
            return places <= {seen.place for seen in list(self.live.seen)}

        wait_until(caught_up, "the live reader has read everything", RESUME_SECONDS)
        live = [seen for seen in list(self.live.seen) if seen.topic in topics]
        names = self.kafka.topics
        self.evidence = Evidence(
            self.source, frozenset({names.decisions, names.dead_letters}), self.ledger.sent(),
            final, live, Logs(self.ground.replicas), history, frozenset(deleted),
        )  # fmt: skip
        verdict, replay = judge(self.evidence)
        judge_state(verdict, replay, self._exported_state(), self.remembers_ms)
        self.verdict = verdict
        return verdict

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the package on this stage's topics."""
        return subprocess.run(  # noqa: S603 our own program
            [str(COMMAND), *arguments],
            env={**os.environ, **environment(self.inside)},
            capture_output=True,
            text=True,
            timeout=_EXPORT_SECONDS,
            check=False,
        )

    def _exported_state(self) -> list[Remembered]:
        path = self.folder / "state.parquet"
        done = self.command("state", "export", "--out", str(path))
        assert done.returncode == 0, done.stderr
        columns = ["partition", "customer_id", "event_time", "amount_minor"]
        rows = pq.read_table(path, columns=columns).to_pydict()
        times = [round(moment.timestamp() * 1_000) for moment in rows["event_time"]]
        return list(
            zip(rows["partition"], rows["customer_id"], times, rows["amount_minor"], strict=True)
        )
