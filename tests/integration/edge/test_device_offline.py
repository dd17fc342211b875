"""Devices decide without a network, are killed and full, and bring every row back once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.settings import Kafka
from tests.support.device.offline import failures, offline_run

pytestmark = pytest.mark.kafka


def test_devices_bring_every_decision_back_once(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    found = offline_run(kafka_topics(kafka_settings()), tmp_path, devices=2, each=300)
    assert failures(found) == []
    # Three while they decide, and each one between the answer and the deletion.
    assert found["killed"] == 5
