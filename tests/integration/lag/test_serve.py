"""The process of ``lag --serve``: it counts and judges while nothing else runs."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.lag_steps.traffic import Input, Member
from stream_scorer.devkafka import DevKafka
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.settings import Kafka
from tests.conftest import Broker

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).parents[3]
RATE = 50.0
SECONDS = 60.0
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class LagProcess:
    """A running process, scraped over HTTP."""

    def __init__(self, bootstrap: str, kafka: Kafka, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.journal = folder / "journal.jsonl"
        self.log = folder / "log"
        names = {
            "STREAM_SCORER_HTTP__PORT": str(self.port),
            "STREAM_SCORER_KAFKA__GROUP": kafka.group,
            "STREAM_SCORER_KAFKA__TOPICS__TRANSACTIONS": kafka.topics.transactions,
            "STREAM_SCORER_LOGGING__JOURNAL": str(self.journal),
            "STREAM_SCORER_LAG__RECONCILE_SECONDS": "0",  # there are no outputs
            "PYTHONPATH": str(ROOT),
        }
        code = "from stream_scorer.cli import main; main()"
        words = ["lag", "--serve", "--interval", "1", "--bootstrap", bootstrap]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 our own interpreter
                [sys.executable, "-c", code, *words], cwd=folder, env=os.environ | names, stderr=log
            )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def scrape(self) -> Samples:
        status, text = self.get("/metrics")
        if status != 200:
            return {}
        return {
            (sample.name.removeprefix("stream_scorer_"), frozenset(sample.labels.items())):
                sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }  # fmt: skip

    def until(self, holds: Callable[[Samples], bool]) -> Samples:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            found = self.scrape()
            if found and holds(found):
                return found
            time.sleep(0.2)
        raise AssertionError(f"not within {SECONDS} s: {sorted(found.items(), key=str)}")

    def until_ready(self, status: int = 200) -> str:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found, body = self.get("/health/ready")
            if found == status:
                return body
            time.sleep(0.2)
        raise AssertionError(f"not {status} within {SECONDS} s: {found} {body}")


@contextmanager
def lag_process(bootstrap: str, kafka: Kafka, folder: Path) -> Iterator[LagProcess]:
    running = LagProcess(bootstrap, kafka, folder)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()


def value(found: Samples, name: str, **labels: str) -> float | None:
    wanted = set(labels.items())
    values = [each for (known, have), each in found.items() if known == name and wanted <= have]
    return sum(values) if values else None


def verdict_of(kafka: Kafka, name: str) -> Callable[[Samples], bool]:
    return lambda found: value(found, "group_worst_verdict", group=kafka.group, verdict=name) == 1


def test_a_stop_of_the_group_is_counted_during_it(
    kafka: Broker, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:  # fmt: skip
    settings = kafka_topics(kafka_settings())
    topic = settings.topics.transactions
    with (
        Input(kafka.bootstrap) as source,
        lag_process(kafka.bootstrap, settings, tmp_path) as running,
    ):
        source.rates[topic] = RATE
        with Member(kafka.bootstrap, topic, settings.group):
            running.until(verdict_of(settings, "OK"))
            good = running.until(
                lambda found: (value(found, "slo_records_total", result="good") or 0) >= 2 * RATE
            )
            assert value(good, "group_members", group=settings.group) == 1
            assert value(good, "build_info", process="lag") == 1
            running.until_ready()
        bad_before = value(running.scrape(), "slo_records_total", result="bad") or 0.0
        # No process of the group runs now.
        stopped = running.until(verdict_of(settings, "STOPPED"))
        assert value(stopped, "group_members", group=settings.group) == 0
        late = running.until(
            lambda found: (
                (value(found, "slo_records_total", result="bad") or 0) >= bad_before + 3 * RATE
            )
        )
        assert (value(late, "group_lag_seconds", partition="0") or 0) > 1
        assert value(late, "slo_records_total", result="unmeasured") == 0
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0, running.log.read_text()
    events = [json.loads(line)["event"] for line in running.journal.read_text().splitlines()]
    assert events == ["began", "stopping", "left"]


def test_an_outage_of_the_brokers_is_unknown_and_survived(tmp_path: Path) -> None:
    name = uuid.uuid4().hex[:8]
    with DevKafka() as own:
        settings = Kafka(bootstrap=own.bootstrap, group=f"g-{name}")
        create_topics(settings)
        topic = settings.topics.transactions
        with (
            Input(own.bootstrap) as source,
            Member(own.bootstrap, topic, settings.group),
            lag_process(own.bootstrap, settings, tmp_path) as running,
        ):
            source.rates[topic] = RATE
            running.until(verdict_of(settings, "OK"))
            own.brokers[0].pause()
            running.until(verdict_of(settings, "UNKNOWN"))
            # The look in which the broker fell silent may have found it, and lacks some numbers.
            assert "do not answer" in running.until_ready(503)
            assert running.get("/health/live")[0] == 200
            own.brokers[0].resume()
            running.until(verdict_of(settings, "OK"))
            running.until_ready()
