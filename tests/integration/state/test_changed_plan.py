"""A plan whose cap or currency differs from the one of the checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.errors import StateError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import MODELS_DIRECTORY, Kafka
from stream_scorer.state.checkpoints.history_coverage import CAP
from stream_scorer.telemetry import StateIncomplete
from tests.support.faults.reference_run import feed, transactions
from tests.support.state.stage import live, restored_only, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]


def changed(directory: Path, old: str, new: str) -> Deployment:
    """Return the shipped model under its plan with one line changed."""
    text = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text()
    assert old in text
    path = directory / "plan.toml"
    path.write_text(text.replace(old, new))
    return Deployment("fraud:1.0.0", plan=path)


def test_a_changed_currency_stops_and_a_larger_cap_is_reported(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    settings = settings_of(ours)
    live(settings, ends)

    for unit in ("USD = 2", "EUR = 3"):
        with pytest.raises(StateError, match="holds amounts in EUR/2") as raised:
            restored_only(settings, deployment=changed(tmp_path, "EUR = 2", unit))
        assert raised.value.exit_code == 9
        assert "stream-scorer state rebuild" in raised.value.fix

    # Events that a smaller cap evicted are still missing when the cap grows again.
    small = restored_only(settings, deployment=changed(tmp_path, "ring_cap = 4096", "ring_cap = 3"))
    assert small.heard.of(StateIncomplete) == []
    assert max(len(times) for own in small.rings().values() for _, times, *_ in own) == 3
    again = feed(ours, transactions(days=4)[:200])
    shrunk = live(settings, {p: ends[p] + more for p, more in again.items()},
                  plan=changed(tmp_path, "ring_cap = 4096", "ring_cap = 3").plan)  # fmt: skip
    # History is complete from the oldest event of every full ring on.
    whole_since = {
        partition: max(times[0] for _, times, *_ in own if len(times) == 3)
        for partition, own in shrunk.rings().items()
    }
    larger = restored_only(settings)
    told = larger.heard.of(StateIncomplete)
    assert {each.reasons for each in told} == {("ring_cap",)}
    assert {each.partition for each in told} == {0, 1, 2, 3}
    lacking = larger.work._held.histories._lacking
    assert {p: each.since[CAP] for p, each in lacking.items()} == whole_since
