"""A real Kafka for the tests.

Fixtures:

``kafka``
    One broker for the entire session, started when the first test asks for it. ``.bootstrap`` is
    its address. ``.devkafka`` is its :class:`DevKafka`, or None for another cluster. A test that
    stops, pauses or configures brokers starts its own ``DevKafka``.
``kafka_settings``
    A function ``(**overrides) -> stream_scorer.settings.Kafka`` for that broker. Topic names,
    group and instance are unique to each *call*, so tests share only the broker.
``kafka_topics``
    A function ``(settings, partitions=4)`` that creates the topics of such settings and returns
    the settings. The broker does not create topics automatically.

Options:

``--kafka=devkafka|testcontainers``
    What starts the broker: DevKafka (default), or a container, which needs a Docker engine.
``--bootstrap HOST:PORT`` or ``STREAM_SCORER_TEST_BOOTSTRAP``
    Use an existing cluster instead of starting one.
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
from tests.support.kafka.open_clients import open_clients
from tests.support.processes import crashed_workers

# Examples have no deadline, because their duration depends on the load of the machine. So does the
# time that they take to draw.
# `make test` runs an eighth of the examples (see tests/support/effort.py); all other runs run all.
SLOW = (hypothesis.HealthCheck.too_slow,)
hypothesis.settings.register_profile(
    "thorough", deadline=None, max_examples=FULL, suppress_health_check=SLOW
)
hypothesis.settings.register_profile(
    "quick", deadline=None, max_examples=FULL // 8, suppress_health_check=SLOW
)
hypothesis.settings.load_profile("thorough")

_IMAGE = "confluentinc/cp-kafka:7.9.1"

# Removed immediately: the settings refuse an unknown variable that has their prefix.
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


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # Last, because pytest itself also sets where the stacks of a crash go.
    crashed_workers.register(config)


def _engine_fault(docker: ModuleType) -> str:
    """Return why no Docker engine answers; empty if one does."""
    fault = ""
    with warnings.catch_warnings():
        # The client does not close its socket if there is no engine.
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
    """Forget secrets after each test: the redactor masks all that the process has read."""
    yield
    redaction._known.clear()


@pytest.fixture(autouse=True)
def closed_clients(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test with a broker that leaves a client open."""
    if request.node.get_closest_marker("kafka") is None:
        yield
        return
    left = open_clients(monkeypatch)
    yield
    assert not left, "\n".join(left.values())


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
