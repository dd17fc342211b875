"""Scorers that follow a rollout, which a test writes while it feeds them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind, Rollback, Step
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings
from tests.faults.suite import scorer_with_hooks
from tests.faults.verifier.reader import read_to_end
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import Outcome, everything_once, feed, outcome, transactions

FILES = FileRegistry(SCHEMAS_DIRECTORY)


class Scene:
    """A cluster's topics, a control log that this test writes, and the input that it sent.

    Args:
        kafka: The cluster and the topics.
        models: The model store.
        folder: For the scorers' logs.
        days: Of transactions of 120 customers.
    """

    def __init__(self, kafka: Kafka, models: Path, folder: Path, days: int) -> None:
        self.kafka = kafka
        self.log = ControlLog(Settings(kafka=kafka))
        self.records = transactions(days=days, customers=120)
        self.variables = {"STREAM_SCORER_MODELS__DIRECTORY": str(models)}
        self._folder = folder
        self._fed = 0

    def scorer(
        self, name: str = "log", instance: str = "0", model: str = "", hooks: Sequence[str] = ()
    ) -> ScorerProcess:
        """Start one that follows the rollout, or one of a model's version."""
        kafka = self.kafka.model_copy(update={"instance": instance})
        options = ("--model", model) if model else ()
        return ScorerProcess(
            kafka, self._folder / name, "--from", "earliest", *options,
            variables=self.variables | (scorer_with_hooks.variables() if hooks else {}),
            program=scorer_with_hooks.program(*hooks) if hooks else (), follow=True,
        )  # fmt: skip

    def feed(self, share: float = 0.2) -> int:
        """Feed the next records; return how many were fed by now."""
        self.feed_until(min(self._fed + int(share * len(self.records)), len(self.records)))
        return self._fed

    def feed_until(self, number: int) -> None:
        """Feed the records before a number that are not fed yet."""
        feed(self.kafka, self.records[self._fed : number])
        self._fed = number

    def decided(self) -> Outcome:
        """Return the decisions once all sent input is decided."""
        wait_until(lambda: len(self.seen()) >= self._fed, "all is decided")
        found = self.outcome()
        everything_once(found, self.records[: self._fed])
        return found

    def outcome(self) -> Outcome:
        """Return the decisions so far."""
        return outcome(self.kafka)

    def seen(self) -> list[Any]:
        """Return all decisions and dead letters so far."""
        topics = self.kafka.topics
        return [m for t in (topics.decisions, topics.dead_letters) for m in read_all(self.kafka, t)]

    def plan(self, **table: Any) -> int:
        given = {"name": "next", "salt": "s", **table}
        body = plan_of(given)
        return self._revision(CommandKind.PLAN, body)

    def step(self, stage: int) -> int:
        return self._revision(CommandKind.STEP, Step(stage=stage, reason="a test"))

    def roll_back(self) -> int:
        return self._revision(CommandKind.ROLLBACK, Rollback(reason="a test"))

    def _revision(self, kind: CommandKind, body: Any) -> int:
        entry = self.log.append(kind, body, None)
        assert entry.command is not None
        return entry.command.sequence

    def activations(self, *, open_too: bool = False) -> list[dict[str, Any]]:
        """Return the activations; also those of open and aborted transactions, if asked for."""
        topic = self.kafka.topics.activations
        if not open_too:
            return self._read(8, "activation.v1", topic)
        codec = RecordCodec(8, reader_schema("activation.v1"))
        written = read_to_end(self.kafka.bootstrap, [topic], "read_uncommitted")
        return [codec.decode(each.value or b"", FILES) for each in written]

    def shadows(self) -> list[dict[str, Any]]:
        return self._read(9, "shadow-score.v1", self.kafka.topics.shadow_scores)

    def _read(self, number: int, schema: str, topic: str) -> list[dict[str, Any]]:
        codec = RecordCodec(number, reader_schema(schema))
        return [codec.decode(m.value(), FILES) for m in read_all(self.kafka, topic)]


@pytest.fixture
def scene(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    models: Path,
    days: int,
    tmp_path: Path,
) -> Iterator[Scene]:
    """Return a scene on separate topics; a test's file has the fixtures models and days."""
    kafka = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    made = Scene(kafka, models, tmp_path, days)
    yield made
    made.log.close()


def awaits(process: ScorerProcess, revision: int) -> None:
    """Wait until a scorer has loaded a revision."""
    wait_until(
        lambda: process.alive and process.metric("stream_scorer_plan_revision") == revision,
        lambda: f"revision {revision} is loaded: {process.said}",
    )


def by_revision(scene: Scene, found: Outcome) -> None:
    """Assert that every decision is of the revision that the activations tell."""
    begins: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for each in scene.activations():
        if each["status"] == "ACTIVE":
            begins[each["partition"]].append((each["offset"], each["revision"]))
    for (partition, offset), decision in found.decisions.items():
        told = max(each for each in begins[partition] if each[0] <= offset)
        assert decision["plan_revision"] == told[1]
