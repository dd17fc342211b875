"""After ten random crashes the state equals a replay, which did not start at the beginning."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.settings import Kafka
from stream_scorer.telemetry import CheckpointWritten
from tests.support.faults.reference_run import everything_once, feed, same, transactions
from tests.support.state.stage import Crash, Life, leavers, live, restored_only, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

CRASHES = 10


@pytest.mark.parametrize("where", ["topic", "files"])
def test_ten_crashes_leave_the_state_of_a_replay(
    where: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    choose = random.Random(7)  # noqa: S311 random places of crashes
    records = leavers()
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    url: dict[str, Any] = {"url": f"file://{tmp_path}"} if where == "files" else {}
    ends = feed(ours, records)
    lives: list[Life] = []
    laps = 0

    def hook(_: str) -> None:
        nonlocal laps
        laps -= 1
        if laps == 0:
            raise Crash

    while len(lives) < CRASHES:
        laps = choose.randrange(10, 90)
        batch = choose.choice((31, 57, 100, 193))
        lives.append(live(settings_of(ours, batch, **url), ends, hook))
        assert lives[-1].crashed, "the input is too short for so many crashes"
    last = live(settings_of(ours, 150, **url), ends)
    found = last.outcome(ours)
    everything_once(found, records)

    undisturbed = kafka_topics(kafka_settings())
    calm = live(settings_of(undisturbed, 400, bytes_per_event=0, buckets_per_second=0),
                feed(undisturbed, records))  # fmt: skip
    assert calm.heard.of(CheckpointWritten) == []
    expected = calm.outcome(undisturbed)
    same(found, expected)
    assert sum(map(len, expected.rings.values())) < len({record.key for record in records})

    again = restored_only(settings_of(ours, **url))
    assert again.rings() == expected.rings
    assert {p: each.first_offset for p, each in again.restored.items()} == ends

    # After a complete cycle, a restart replays only from that cycle, not from the beginning.
    laps = 40
    more = feed(ours, transactions(days=10))
    after = {p: end + more[p] for p, end in ends.items()}
    assert live(settings_of(ours, 31, **url), after, hook).crashed
    back = restored_only(settings_of(ours, **url)).restored
    assert {p: each.buckets for p, each in back.items()} == dict.fromkeys(ends, 1024)
    assert all(ends[p] <= each.first_offset <= each.end_offset for p, each in back.items())
    assert any(each.end_offset > ends[p] for p, each in back.items())
