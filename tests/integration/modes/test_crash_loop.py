"""A record that ends every process: it is not tried forever, and an operator can remove it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scorer.dead_letters.take_record import take
from stream_scorer.errors import CrashLoopError, SettingsError
from stream_scorer.kafka.loop.attempts import MOST_ATTEMPTS, Note
from stream_scorer.kafka.topics import client_options
from stream_scorer.scoring import work as scoring
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchCommitted
from tests.faults.suite import scorer_with_hooks
from tests.support.faults.poison import poisoned
from tests.support.faults.process import COMMAND, ScorerProcess, environment, wait_until
from tests.support.faults.reference_run import (
    Record,
    committed,
    everything_once,
    feed,
    outcome,
    transactions,
)
from tests.support.state.stage import live, settings_of

pytestmark = pytest.mark.kafka

CRASH_LOOP = 14
WRONG = 2
MOST_STARTS = 7
SINGLY = 128
"""Records that are taken one by one."""


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    # The group waits for a killed member until its session ends; the broker's minimum is 6 s.
    return kafka_topics(kafka_settings(session_timeout_ms=6_000, socket_timeout_ms=3_000))


def with_poison() -> tuple[tuple[Record, ...], Record, int]:
    """Return the input, the record in its middle that ends processes, and its offset."""
    records = list(transactions(days=6))
    at = next(
        number
        for number in range(len(records) // 2, len(records))
        if not records[number].bad and not records[number + 1].bad
    )
    poison = poisoned(records[at])
    records[at] = poison
    offset = sum(record.partition == poison.partition for record in records[:at])
    return tuple(records), poison, offset


def command(settings: Kafka, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 our own program
        [str(COMMAND), *arguments], env={**os.environ, **environment(settings)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


class Death(BaseException):
    """Replaces a crash, which reports nothing."""


def test_a_range_that_ended_three_processes_is_not_tried_again(settings: Kafka) -> None:
    records, poison, offset = with_poison()
    ends = feed(settings, records)
    ours = settings_of(settings)

    def die(events: Any) -> None:
        if scorer_with_hooks.hold_poison(events):
            raise Death

    def restarted() -> None:
        for _ in range(MOST_STARTS):
            with pytest.raises(Death):
                live(ours, ends)

    with (
        patch.object(scoring, "decide_batch", scorer_with_hooks.preceded(die)),
        pytest.raises(CrashLoopError) as raised,
    ):
        restarted()
    assert f"stream-scorer dlq take {poison.partition} {offset}" in raised.value.fix
    assert committed(settings)[poison.partition] == offset
    with pytest.raises(SettingsError, match="is not its next record"):
        take(ours, poison.partition, offset + 1)
    assert take(ours, poison.partition, offset).after == offset + 1
    live(ours, ends)
    everything_once(outcome(settings), records)


def test_a_suspected_partition_does_not_wait_for_others(settings: Kafka) -> None:
    """Its records are taken one by one, and a backlog of others would take minutes so."""
    ends = feed(settings, transactions())
    suspected = max(ends)
    assert ends[suspected] > SINGLY
    note = Note(MOST_ATTEMPTS - 1, ends[suspected], 1).write().decode()
    places = [
        TopicPartition(settings.topics.transactions, each, 0, note if each == suspected else "")
        for each in ends
    ]
    consumer = Consumer(client_options.reader(settings, settings.group))
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    commits = live(settings_of(settings), ends, start=None).heard.of(BatchCommitted)
    through = next(
        number
        for number, commit in enumerate(commits)
        if commit.next_offsets.get(suspected, 0) >= SINGLY
    )
    alone = [commit for commit in commits[:through] if set(commit.next_offsets) == {suspected}]
    assert all(commit.records == 1 for commit in commits[:through])
    # Others are read only where a poll brought nothing of it in time.
    assert len(alone) >= SINGLY - 1
    assert len(alone) > through / 2
    assert len(commits) < sum(ends.values()) / 10


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["alone", "supervised"])
def test_no_process_tries_endlessly_and_the_record_is_taken_once(
    settings: Kafka, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    records, poison, offset = with_poison()
    ends = feed(settings, records)

    def scorer(name: str) -> ScorerProcess:
        # Only a separate process can get the hooks; its workers import them.
        return ScorerProcess(
            settings,
            tmp_path / name,
            *("--from", "earliest", *workers),
            program=scorer_with_hooks.program("--dies-of-poison"),
            variables=scorer_with_hooks.variables(),
        )

    codes: list[int] = []
    said = ""
    while CRASH_LOOP not in codes:
        assert len(codes) < MOST_STARTS, codes
        with scorer(f"{len(codes)}.log") as process:
            codes.append(process.wait(240))
            said = process.said
    place = str(poison.partition), str(offset)
    assert f"stream-scorer dlq take {place[0]} {place[1]}" in said
    assert committed(settings)[poison.partition] == offset
    # A restart without the operator does not begin there again.
    with scorer("again.log") as process:
        assert process.wait(120) == CRASH_LOOP

    for wrong in (offset - 1, offset + 1):
        refused = command(settings, "dlq", "take", place[0], str(wrong))
        assert refused.returncode == WRONG, refused.stderr
        assert "is not its next record" in refused.stderr
    assert committed(settings)[poison.partition] == offset

    done = command(settings, "dlq", "take", *place, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["committed"] == offset + 1
    twice = command(settings, "dlq", "take", *place)
    assert twice.returncode == WRONG, twice.stderr

    with scorer("last.log") as process:
        wait_until(lambda: committed(settings) == ends, lambda: f"all is decided: {process.said}")
    everything_once(outcome(settings), records)
