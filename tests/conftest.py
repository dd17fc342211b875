"""A real Kafka for the tests.

Fixtures:

``kafka``
    One broker for the whole session, started when the first test asks for it. ``.bootstrap`` is
    its address. ``.devkafka`` is the :class:`DevKafka` behind it, or None on another cluster; a
    test that stops, pauses or configures brokers starts its own ``DevKafka``.
``kafka_settings``
    A function ``(**overrides) -> stream_scorer.settings.Kafka`` for that broker. Topic names,
    group and instance are unique to each *call*, so tests share the broker and nothing else.
``kafka_topics``
    A function ``(settings, partitions=4)`` that creates the topics of such settings and returns
    the settings. The broker creates no topic by itself.

Options:

``--kafka=devkafka|testcontainers``
    What starts the broker: our own (default), or a container, where a Docker engine is.
``--bootstrap HOST:PORT`` or ``STREAM_SCORER_TEST_BOOTSTRAP``
    Use an existing cluster, and start none.
"""

import gc
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import hypothesis
import pytest

from stream_scorer import redaction
from stream_scorer.devkafka import DevKafka
from stream_scorer.kafka.topics.create_topics import PARTITIONS, create_topics
from stream_scorer.settings import Kafka, Topics
from tests.support.effort import FULL

# How long an example takes depends on how busy the machine is, so no example has a deadline.
# `make test` runs a quarter of the examples (see tests/support/effort.py); all else runs all.
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=FULL)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=FULL // 4)
hypothesis.settings.load_profile("thorough")

_IMAGE = "confluentinc/cp-kafka:7.9.1"

# Taken out at once: the settings refuse a variable under their prefix that they do not know.
_ELSEWHERE = os.environ.pop("STREAM_SCORER_TEST_BOOTSTRAP", "")


@dataclass(frozen=True, slots=True)
class Broker:
    """The session's broker."""

    bootstrap: str
    devkafka: DevKafka | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kafka")
    group.addoption("--kafka", choices=("devkafka", "testcontainers"), default="devkafka")
    group.addoption("--bootstrap", default=_ELSEWHERE, help="host:port list of a cluster to use")


def _engine_fault(docker: ModuleType) -> str:
    """Return why no Docker engine answers; empty when one does."""
    fault = ""
    with warnings.catch_warnings():
        # The client leaves its socket open when there is nothing at the other end.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env()
            client.ping()
            client.close()
        except docker.errors.DockerException as error:
            fault = str(error)
        gc.collect()
    return fault


def _container() -> Iterator[Broker]:
    docker = pytest.importorskip("docker", reason="--kafka=testcontainers needs the docker client")
    if fault := _engine_fault(docker):
        pytest.skip(f"--kafka=testcontainers needs a Docker engine: {fault}")
    from testcontainers.kafka import KafkaContainer  # noqa: PLC0415 only where it is asked for

    container = KafkaContainer(_IMAGE).with_kraft()
    for name, value in {
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }.items():
        container.with_env(name, value)
    with container:
        yield Broker(container.get_bootstrap_server())


@pytest.fixture(autouse=True)
def forgotten_secrets() -> Iterator[None]:
    """Mask in no test what was a secret in another: the redactor keeps what a process has read."""
    yield
    redaction._known.clear()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if bootstrap := request.config.getoption("--bootstrap"):
        yield Broker(bootstrap)
    elif request.config.getoption("--kafka") == "testcontainers":
        yield from _container()
    else:
        with DevKafka() as devkafka:
            yield Broker(devkafka.bootstrap, devkafka)


@pytest.fixture(scope="session")
def kafka_settings(kafka: Broker) -> Callable[..., Kafka]:
    def make(**overrides: Any) -> Kafka:
        unique = uuid.uuid4().hex[:10]
        topics = {name: f"{unique}-{field.default}" for name, field in Topics.model_fields.items()}
        own = {
            "bootstrap": kafka.bootstrap,
            "group": f"group-{unique}",
            "instance": f"instance-{unique}",
            "topics": Topics(**topics),
        }
        return Kafka(**{**own, **overrides})

    return make


@pytest.fixture(scope="session")
def kafka_topics() -> Callable[..., Kafka]:
    def create(settings: Kafka, partitions: int = PARTITIONS) -> Kafka:
        create_topics(settings, partitions, replication=1)
        return settings

    return create
