"""A field is renamed upstream: each record is read by the mapping that is active at its offset."""

import json
import signal
import tomllib
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.reproduce.run import Depth, Question, reproduce
from stream_scorer.settings import Kafka, Models, Profiler, Registry, Settings
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ring_columns import CustomerColumns, columns_of
from stream_scorer.state.commands.inspect import open_checkpoint
from stream_scorer.telemetry import BatchCommitted, Event
from stream_scorer.terminals.profiler_process import profiler_loop
from tests.support.codec.foreign_events import (
    EVENTS,
    foreign,
    row_of,
    time_of,
    with_foreign_schema,
)
from tests.support.faults.process import ScorerProcess, environment, wait_until
from tests.support.faults.reference_run import Outcome, Record, feed, scored, transaction_codec
from tests.support.models.noise_bundles import AMOUNT, write
from tests.support.reproduce.retelling import DEPTHS, EVER, silent
from tests.support.rollout.live_scene import Scene, awaits, by_revision, scene
from tests.support.rollout.versions import OLD, models
from tests.support.terminals.stage import Row, rows_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["models", "scene"]

FIRST = tomllib.loads(EVENTS)
SECOND = tomllib.loads(EVENTS.replace("payment_no", "payment_id"))
ALONE: dict[str, Any] = {"strategy": "champion", "versions": {"champion": OLD}}


@pytest.fixture
def days() -> int:
    return 8


def test_a_renamed_field_is_read_by_the_mapping_of_its_offset(
    scene: Scene, models: Path, tmp_path: Path, kafka_settings: Any, kafka_topics: Any
) -> None:
    directory = with_foreign_schema(tmp_path)
    scene.variables["STREAM_SCORER_REGISTRY__DIRECTORY"] = str(directory)
    # Without late records, the input is in the order of event time.
    ours = [r for r in scene.records if r.value is not None and b"late-" not in r.value]
    half, rest = len(ours) // 2, 3 * len(ours) // 4
    native = kafka_topics(kafka_settings())
    expected, _ = scored(native, feed(native, tuple(ours)))
    scene.records = tuple(
        foreign(record, renamed=number >= half) for number, record in enumerate(ours)
    )
    first = scene.plan(**ALONE, shared={"events": FIRST})
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed_until(half // 2)
        scene.decided()
        second = scene.plan(**ALONE, shared={"events": SECOND}, effective_at=time_of(ours[half]))
        awaits(process, second)
        scene.feed_until(half)
        scene.feed_until(rest)
        wait_until(lambda: len(scene.activations()) > len(begun(scene, first)), "it begins")
        process.kill()
    found = decided_after_a_kill(scene, len(ours))
    verified(scene)
    profiled_alike(scene, native, Registry(directory=directory))
    by_revision(scene, found)
    told = Counter(each["plan_revision"] for each in found.decisions.values())
    assert set(told) == {first, second}
    assert min(told.values()) > 200
    aside = {"plan_revision", "policy_revision"}
    assert {
        at: {k: v for k, v in each.items() if k not in aside}
        for at, each in found.decisions.items()
    } == {
        at: {k: v for k, v in each.items() if k not in aside}
        for at, each in expected.decisions.items()
    }
    settings = Settings(
        kafka=scene.kafka, models=Models(directory=models), registry=Registry(directory=directory)
    )
    reproduced(settings, found, *DEPTHS)


def test_a_kill_before_the_commit_leaves_no_activation(
    scene: Scene, models: Path, tmp_path: Path
) -> None:
    directory = with_foreign_schema(tmp_path)
    scene.variables["STREAM_SCORER_REGISTRY__DIRECTORY"] = str(directory)
    ours = [r for r in scene.records if not r.bad and b"late-" not in (r.value or b"")]
    half = len(ours) // 2
    scene.records = tuple(
        foreign(record, renamed=number >= half) for number, record in enumerate(ours)
    )
    first = scene.plan(**ALONE, shared={"events": FIRST})
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed_until(half)
        scene.decided()
        ended(process)
    second = scene.plan(**ALONE, shared={"events": SECOND}, effective_at=time_of(ours[half]))
    scene.feed_until(len(ours))
    with scene.scorer("killed", hooks=("--signal-at", "SIGKILL", "send", "1")) as process:
        assert process.wait() == -signal.SIGKILL, process.said
    written = [each for each in scene.activations(open_too=True) if each["revision"] == second]
    assert written
    found = decided_after_a_kill(scene, len(ours))
    verified(scene)
    by_revision(scene, found)
    # Those of the aborted transaction were written again, at the same offsets; one is committed.
    active = Counter(place(each) for each in begun(scene, second) if each["status"] == "ACTIVE")
    assert set(active.values()) == {1}
    assert {place(each) for each in written} <= active.keys()
    everything = [each for each in scene.activations(open_too=True) if each["revision"] == second]
    assert len(everything) == len(written) + len(begun(scene, second))
    assert {d["plan_revision"] for d in found.decisions.values()} == {first, second}
    settings = Settings(
        kafka=scene.kafka, models=Models(directory=models), registry=Registry(directory=directory)
    )
    reproduced(settings, found, *DEPTHS)


def place(activation: dict[str, Any]) -> tuple[int, int]:
    """Return the partition and the offset of an activation."""
    return activation["partition"], activation["offset"]


def test_a_plan_after_the_rename_decides_from_the_next_offset(scene: Scene, tmp_path: Path) -> None:
    scene.variables["STREAM_SCORER_REGISTRY__DIRECTORY"] = str(with_foreign_schema(tmp_path))
    ours = [r for r in scene.records if not r.bad and b"late-" not in (r.value or b"")][:600]
    scene.records = tuple(
        foreign(record, renamed=number >= 200) for number, record in enumerate(ours)
    )
    scene.plan(**ALONE, shared={"events": FIRST})
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed_until(400)
        wait_until(lambda: len(scene.seen()) == 400, "all is decided or rejected")
        second = scene.plan(**ALONE, shared={"events": SECOND})
        awaits(process, second)
        scene.feed_until(600)
        wait_until(lambda: len(scene.seen()) == 600, "all is decided or rejected")
    found = scene.outcome()
    reasons = Counter(letter[0] for letter in found.dead_letters.values())
    assert reasons == {"INCOMPATIBLE_SCHEMA": 200}
    assert all("payment_no" in letter[1] for letter in found.dead_letters.values())
    assert len(found.decisions) == 400
    by_revision(scene, found)


GROSS = {"path": "after.paid", "type": "double"}
SPREAD: dict[str, Any] = {"name": "SD", "kind": "stddev", "field": "gross", "window": "3d"}


def test_an_extra_field_with_another_definition_is_warmed(
    scene: Scene, models: Path, tmp_path: Path
) -> None:
    directory = with_foreign_schema(tmp_path)
    scene.variables["STREAM_SCORER_REGISTRY__DIRECTORY"] = str(directory)
    write(models, "1.4.0", (AMOUNT, SPREAD))
    ours = [r for r in scene.records if not r.bad and b"late-" not in (r.value or b"")]
    scene.records = tuple(foreign(record) for record in ours)
    alone: dict[str, Any] = {"strategy": "champion", "versions": {"champion": "fraud:1.4.0"}}
    first = scene.plan(**alone, shared={"events": FIRST | {"extra": {"gross": GROSS}}})
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed_until(len(ours) // 4)
        scene.decided()
        # The values are the same; only the definition differs.
        changed = FIRST | {"extra": {"gross": GROSS | {"optional": True}}}
        second = scene.plan(**alone, shared={"events": changed})
        lacks = "fraud:1.4.0 is warming: the rings do not keep gross (double) as this events.toml"
        wait_until(lambda: any(lacks in said for said in process.degraded()), "it is refused")
        half = len(ours) // 2
        scene.feed_until(half)
        assert {d["plan_revision"] for d in scene.decided().decisions.values()} == {first}
        ended(process)
    # The buckets keep the first definition alone; then some keep both, from the restart on.
    ran(scene, "verify")
    with scene.scorer("second") as process:
        process.wait_ready()
        scene.feed_until(5 * len(ours) // 8)
        scene.decided()
        ran(scene, "verify")
        scene.feed_until(15 * len(ours) // 16)
        scene.decided()
        scene.feed_until(len(ours))
        found = scene.decided()
        ended(process)
    by_revision(scene, found)
    counts = Counter(d["plan_revision"] for d in found.decisions.values())
    assert counts.keys() == {first, second}
    # The first plan decides until the window no longer includes events stored without the field.
    assert counts[first] >= 5 * len(ours) // 8
    settings = Settings(
        kafka=scene.kafka, models=Models(directory=models), registry=Registry(directory=directory)
    )
    reproduced(settings, found, "input")
    ran(scene, "verify")
    before = remembered(settings)
    ran(scene, "rebuild")
    after = remembered(settings)
    for place, (bucket, columns) in before.items():
        edge = max(bucket.watermark - bucket.horizon, *bucket.since.values(), 0)
        _, rebuilt = after[place]
        fields = dict.fromkeys(rebuilt.fields, edge)
        if rebuilt.customers and columns.customers:
            assert dict(columns.events(edge, fields)) == dict(rebuilt.events(edge, fields))
    assert sum(len(columns.time) for _, columns in before.values()) > 100
    ran(scene, "verify")


def remembered(settings: Settings) -> dict[tuple[int, int], tuple[Bucket, CustomerColumns]]:
    """Return the buckets that are as of the group's offsets, by partition and number."""
    checkpoint = open_checkpoint(settings)
    return {
        (partition, number): (bucket, columns_of(bucket.payload))
        for partition, offset in checkpoint.committed.items()
        for number, bucket in checkpoint.buckets(partition).items()
        if bucket.offset == offset
    }


def decided_after_a_kill(scene: Scene, count: int) -> Outcome:
    """Decide all records up to a number with a new process, and stop it."""
    with scene.scorer("second") as process:
        process.wait_ready()
        scene.feed_until(count)
        found = scene.decided()
        ended(process)
    return found


def ended(process: ScorerProcess) -> None:
    """Let a scorer end by itself, so that it writes the buckets that are not written yet."""
    process.send(signal.SIGTERM)
    assert process.wait() == 0, process.said


def reproduced(settings: Settings, found: Outcome, *depths: Depth) -> None:
    """Reproduce all decisions at each depth; all are equal."""
    for depth in depths:
        result = reproduce(settings, Question(first_ms=EVER, depth=depth), silent)
        result.refuse()
        assert result.equal == result.chosen == len(found.decisions)


def verified(scene: Scene) -> None:
    """Compute the state again from the records of both mappings; it equals what scorers wrote."""
    for command in ("verify", "rebuild", "verify"):
        ran(scene, command, "--model", OLD)


def ran(scene: Scene, command: str, *options: str) -> None:
    """Run a state command; what is verified has no difference."""
    told = environment(scene.kafka) | scene.variables
    result = CliRunner().invoke(app, ["state", command, *options, "--json"], env=told)
    assert result.exit_code == 0, (result.output, result.exception)
    partitions = json.loads(result.stdout)["partitions"]
    if command == "verify":
        assert sum(each["events"] for each in partitions) > 0
        assert [each["differing"] for each in partitions] == [[]] * len(partitions)


def profiled_rows(
    kafka: Kafka, count: int, registry: Registry, scorers: str = ""
) -> tuple[list[Row], int]:  # fmt: skip
    """Profile a topic from its beginning; return the terminal profile rows and the watermark."""
    own = Settings(
        kafka=kafka, registry=registry, profiler=Profiler(group=f"{kafka.group}-profiler")
    )
    told: list[Event] = []
    loop = profiler_loop(
        own.of_process("profiler"), Deployment(OLD, start="earliest"), told.append, scorers=scorers
    )

    def beat() -> None:
        if sum(each.records for each in told if isinstance(each, BatchCommitted)) >= count:
            loop.stop()

    loop.run(beat)
    return rows_of(kafka)


def profiled_alike(scene: Scene, native: Kafka, registry: Registry) -> None:
    """Assert that the records of both mappings give the same rows as the native topic."""
    count = len(scene.records)
    expected, least = profiled_rows(native, count, Registry())
    found, reached = profiled_rows(scene.kafka, count, registry, scene.kafka.group)
    until = min(least, reached)
    rows = [row for row in found if row[1] <= until]
    assert rows == [row for row in expected if row[1] <= until]
    assert len(rows) > 100


def begun(scene: Scene, revision: int) -> list[dict[str, Any]]:
    """Return the activations of a revision."""
    return [each for each in scene.activations() if each["revision"] == revision]


def test_a_new_rate_holds_from_its_plans_activation_on(
    scene: Scene, models: Path, kafka_settings: Any, kafka_topics: Any
) -> None:
    codec = transaction_codec()
    ours = [r for r in scene.records if not r.bad and b"late-" not in (r.value or b"")]
    rows = [row_of(record) for record in ours]
    day = {n: rows[n]["event_time"].date().isoformat() for n in (0, len(rows) // 2)}
    before = {day[0]: "0.9"}
    after = {**before, day[len(rows) // 2]: "7/9"}
    start = datetime.fromisoformat(day[len(rows) // 2]).replace(tzinfo=UTC)
    # Half of the customers pay in dollars. For the comparison, the same amounts are sent in euros.
    dollars, euros = [], []
    for record, row in zip(ours, rows, strict=True):
        paid, amount = "EUR", row["amount_minor"]
        if int(row["customer_id"]) % 2:
            paid = "USD"
            rate = Fraction(7, 9) if row["event_time"] >= start else Fraction(9, 10)
            amount = round(rate * amount)
        dollars.append(Record(record.key, codec.encode(row | {"currency": paid})))
        euros.append(Record(record.key, codec.encode(row | {"amount_minor": amount})))
    native = kafka_topics(kafka_settings())
    expected, _ = scored(native, feed(native, tuple(euros)))
    scene.records = tuple(dollars)
    shared = {"currencies": {"EUR": 2, "USD": 2}}
    first = scene.plan(**ALONE, shared={**shared, "events": rates(before)})
    with scene.scorer("first") as process:
        process.wait_ready()
        scene.feed(0.3)
        scene.decided()
        second = scene.plan(
            **ALONE, shared={**shared, "events": rates(after)},
            effective_at=round(start.timestamp() * 1_000),
        )  # fmt: skip
        awaits(process, second)
        scene.feed_until(len(dollars))
        found = scene.decided()
        ended(process)
    verified(scene)
    by_revision(scene, found)
    assert {each["plan_revision"] for each in found.decisions.values()} == {first, second}
    same = ("decision", "score", "features", "flags", "reasons")
    assert {at: [each[name] for name in same] for at, each in found.decisions.items()} == {
        at: [each[name] for name in same] for at, each in expected.decisions.items()
    }
    amounts = [
        (row["amount_minor"], "USD" if int(row["customer_id"]) % 2 else "EUR") for row in rows
    ]
    told = [(each["amount_minor"], each["currency"]) for each in found.decisions.values()]
    assert sorted(told) == sorted(amounts)
    reproduced(Settings(kafka=scene.kafka, models=Models(directory=models)), found, *DEPTHS)


def rates(dollar: dict[str, str]) -> dict[str, Any]:
    """Return a table of events.toml that has only rates."""
    return {"rates": {"base": "EUR", "USD": dollar}}
