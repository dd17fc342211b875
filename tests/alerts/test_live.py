"""A real Prometheus scrapes a real run: a stop of all scorers pages during it, and nothing else."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.settings import Kafka
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import transactions
from tests.support.lag.live_prometheus import LivePrometheus, Notified

pytestmark = [pytest.mark.prometheus, pytest.mark.kafka]
STOP_SECONDS = 600.0
GOOD = 'sum(stream_scorer_slo_records_total{result="good"})'
QUIET = {"GroupSlow", "EventsOld", "DeadLetters"}
"""Tickets of this run that name what is true: simulated transactions are old, some are bad."""


@pytest.mark.timeout(1_200)
def test_a_stop_of_all_scorers_pages_during_it(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = kafka_topics(kafka_settings())
    source = SteadyFeed(settings, transactions(days=300) * 10)
    every = {
        "STREAM_SCORER_LAG__INTERVAL_SECONDS": "2",
        "STREAM_SCORER_LAG__RECONCILE_SECONDS": "5",
    }
    with (
        Notified() as notified,
        ScorerProcess(
            settings, tmp_path / "lag", "--serve", command="lag", variables=every
        ) as watching,
        ScorerProcess(settings, tmp_path / "scorer", "--from", "earliest") as scorer,
        LivePrometheus(tmp_path, [watching.port, scorer.port], notified) as prometheus,
    ):
        scorer.wait_ready()
        source.start()
        try:
            wait_until(
                lambda: any(float(each["value"][1]) >= 5_000 for each in prometheus.query(GOOD)),
                lambda: f"records are good: {prometheus.query(GOOD)} {watching.said}",
            )
            # A minute of healthy traffic pages nobody.
            until = time.monotonic() + 60
            while time.monotonic() < until:
                assert prometheus.firing() <= QUIET
                time.sleep(1)
            assert notified.alerts["pages"] == []
            scorer.send(signal.SIGTERM)
            assert scorer.wait() == 0
            stopped = time.monotonic()
            wait_until(
                lambda: bool(notified.alerts["pages"]),
                lambda: f"a page: {prometheus.firing()}",
                STOP_SECONDS,
            )
            seconds = time.monotonic() - stopped
            assert seconds < 180, seconds
            wait_until(
                lambda: "GroupStopped" in notified.alerts["tickets"],
                lambda: f"the cause: {notified.alerts}",
                STOP_SECONDS,
            )
            while time.monotonic() < stopped + STOP_SECONDS:
                time.sleep(1)
            # In ten minutes, one page for one fault; its cause is a ticket.
            assert set(notified.alerts["pages"]) == {"DecisionsLate"}
            (tmp_path / "paged").write_text(f"{seconds:.1f} s {notified.alerts}\n")
        finally:
            source.stop()
