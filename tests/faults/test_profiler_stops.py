"""Without a profiler, the scorer waits, then decides anyway, and reports it everywhere."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.settings import Kafka
from tests.integration.terminals.test_scorer import FEATURES, hold_to
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.models.noise_bundles import write
from tests.support.terminals.stage import SENT, Sent, expected, month, send

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

WAIT_SECONDS = 2.0
NAME = "terminal-profiles"


def read_up(kafka: Kafka, group: str, *topics: str) -> bool:
    return all(each.lag == 0 for topic in topics for each in read_lag(kafka, group, topic))


def degraded(scorer: ScorerProcess) -> float:
    return scorer.metric("stream_scorer_flagged_total", flag="degraded") or 0.0


def answers(scorer: ScorerProcess) -> float | None:
    return scorer.metric("stream_scorer_dependency_up", dependency=NAME)


def test_decisions_with_a_stopped_profiler_are_degraded_not_lost(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    group = f"{kafka.group}-profiler"
    write(tmp_path, "1.0.0", FEATURES)
    plan = tmp_path / "plan.toml"
    plan.write_text(f"terminal_wait_ms = {WAIT_SECONDS * 1_000:.0f}\n[currencies]\nEUR = 2\n")
    variables = {
        "STREAM_SCORER_PROFILER__GROUP": group,
        "STREAM_SCORER_MODELS__DIRECTORY": str(tmp_path),
    }
    records = month(days=40)
    cut = len(records) // 2

    def profiler(*arguments: str) -> ScorerProcess:
        said = tmp_path / "profiler.log"
        arguments = ("--plan", str(plan), *arguments)
        return ScorerProcess(kafka, said, *arguments, variables=variables, command="profile")

    def profiled() -> bool:
        return read_up(kafka, group, kafka.topics.transactions, kafka.topics.labels)

    def decided() -> bool:
        return read_up(kafka, kafka.group, kafka.topics.transactions)

    first = ("--from", "earliest")
    send(kafka, records[:cut])
    with ExitStack() as stack:
        one = stack.enter_context(profiler(*first))
        one.wait_ready()
        wait_until(profiled, lambda: f"profiled: {one.said}")
        # Started only after all rows are there, because its start may take long.
        arguments = (*first, "--plan", str(plan), "--accept-cold")
        scorer = stack.enter_context(
            ScorerProcess(kafka, tmp_path / "scorer.log", *arguments, variables=variables)
        )
        scorer.wait_ready()
        wait_until(decided, lambda: f"decided: {scorer.said}")
        assert (*scorer.probe(), degraded(scorer)) == (True, [], 0)

        one.kill()
        started = time.monotonic()
        send(kafka, records[cut:], SENT + 100_000)
        wait_until(lambda: degraded(scorer) > 0, lambda: f"degraded: {scorer.said}")
        assert time.monotonic() - started >= WAIT_SECONDS
        wait_until(decided, lambda: f"decided: {scorer.said}")
        ready, (reason,) = scorer.probe()
        assert (ready, reason.startswith(f"paused: {NAME}")) == (False, True)
        assert answers(scorer) == 0
        assert "decisions are degraded" in scorer.said
        flags = hold_to(kafka, records, expected(records, 2**62))
        late = sum("degraded" in each for each in flags.values())
        assert len(flags) / 4 < late < len(flags)
        # A commit is reported a moment after it.
        wait_until(lambda: degraded(scorer) == late, lambda: f"{late} degraded: {scorer.said}")

        with profiler() as other:
            other.wait_ready()
            wait_until(profiled, lambda: f"profiled: {other.said}")
            newest = max(record.event_time for record in records)
            more = [Sent(10_000 + at, newest + at * 1_000, customer=at % 9) for at in range(50)]
            send(kafka, more, SENT + 200_000)
            wait_until(decided, lambda: f"decided: {scorer.said}")
            wait_until(lambda: scorer.probe()[0], lambda: f"ready again: {scorer.said}")
            assert answers(scorer) == 1
            assert degraded(scorer) == late
    flags = hold_to(kafka, [*records, *more], expected(records, 2**62))
    assert not any("degraded" in flags[each.number] for each in more)
