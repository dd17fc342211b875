"""A scorer's regular AdminClient requests do not crash it when the broker stops."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_scorer.devkafka import DevKafka, processes
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.settings import Kafka
from tests.faults.suite.scorer_with_hooks import variables
from tests.support.faults.process import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

# Longer than a request's time limit, so that some are abandoned while they are under way.
_AWAY_SECONDS = 7.0


@pytest.fixture
def broker() -> Iterator[DevKafka]:
    with DevKafka() as kafka:
        yield kafka


def test_admin_clients_survive_lost_brokers(broker: DevKafka, tmp_path: Path) -> None:
    kafka = Kafka(bootstrap=broker.bootstrap, group="asked")
    create_topics(kafka, 4)
    log = tmp_path / "told"
    asker = processes.start(
        [sys.executable, "-m", "tests.support.faults.admin_client_load", kafka.bootstrap,
         kafka.topics.transactions],
        log, environment=variables(),
    )  # fmt: skip

    def told(word: str) -> int:
        return log.read_text().split().count(word)

    def answered_on() -> None:
        before = told("answered")
        wait_until(
            lambda: asker.poll() is not None or told("answered") > before + 16,
            lambda: f"it is answered again: {log.read_text()[-500:]}",
        )
        assert asker.poll() is None, log.read_text()[-500:]

    (only,) = broker.brokers
    try:
        answered_on()
        only.kill()
        time.sleep(_AWAY_SECONDS)
        only.restart()
        answered_on()
        only.pause()
        time.sleep(_AWAY_SECONDS)
        only.resume()
        answered_on()
        assert told("refused") > 0
    finally:
        asker.kill()
        asker.wait()
