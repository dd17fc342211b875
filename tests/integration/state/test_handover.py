"""A partition that changes hands takes its state with it: the new owner replays nothing."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.apps.scorer import Deployment, scorer_loop
from stream_scorer.happenings import CheckpointWritten, PartitionsRevoked
from stream_scorer.settings import Kafka
from tests.faults.scene import DEADLINE_SECONDS, Heard, feed, transactions
from tests.integration.state.stage import restored_only, settings_of

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("where", ["topic", "files"])
def test_what_is_revoked_is_flushed_first(
    where: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    state: dict[str, Any] = {"bytes_per_event": 0, "buckets_per_second": 0}
    if where == "files":
        state["url"] = f"file://{tmp_path}"
    heard = Heard(ends)
    settings = settings_of(ours, **state)
    loop, work = scorer_loop(settings, Deployment("fraud:1.0.0", start="earliest"), heard)
    first = threading.Thread(target=loop.run)
    first.start()
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not heard.done:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other = ours.model_copy(update={"instance": f"{ours.instance}-2"})
        second = restored_only(settings_of(other, **state), partitions=2)
    finally:
        loop.stop()
        first.join(DEADLINE_SECONDS)
    assert heard.of(CheckpointWritten) == []
    gone = {p for each in heard.of(PartitionsRevoked) for p in each.partitions}
    assert len(second.restored) == 2
    assert second.restored.keys() <= gone
    for partition, each in second.restored.items():
        assert (each.buckets, each.first_offset, each.end_offset) == (
            1024, ends[partition], ends[partition],
        )  # fmt: skip
    assert work.rings.partitions() != ()
