"""An option that librdkafka refuses is a settings error; the settings check the same limits."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.client import library as module
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.client.library import PRODUCER, LibraryClient
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.topics import client_options
from stream_scorer.processes.worker_report import ended_in_one_line
from stream_scorer.settings import Kafka

NOWHERE = "127.0.0.1:1"


def producer(kafka: Kafka) -> None:
    TransactionalProducer(kafka, "g", lambda _: None)


def consumer(kafka: Kafka) -> None:
    ColumnConsumer(client_options.member(kafka), "t").close()


def taken(kafka: Kafka) -> None:
    """Make both kinds of clients; neither of them connects."""
    LibraryClient(PRODUCER, client_options.producer(kafka, "i")).destroy()
    consumer(kafka)


@pytest.mark.parametrize(
    ("make", "client", "said"),
    [
        (producer, {"message.timeout.ms": 60_000}, "`message.timeout.ms` must be set <= "),
        (producer, {"delivery.timeout.ms": 60_000}, "`message.timeout.ms` must be set <= "),
        (producer, {"retries": 0}, "`retries` must be set >= 1 "),
        (producer, {"retries": -1}, "value -1 is outside allowed range"),
        (consumer, {"fetch.max.bytes": 1_000}, "`fetch.max.bytes` must be >= "),
    ],
)
def test_an_option_that_the_library_refuses_exits_with_code_2(
    make: Callable[[Kafka], None],
    client: dict[str, Any],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kafka = Kafka(bootstrap=NOWHERE, client=client)
    with pytest.raises(SystemExit) as left:
        ended_in_one_line("worker 0", lambda: make(kafka))
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("stream-scorer: worker 0: setting kafka.client: ")
    assert said in line
    assert line.count("\n") == 1


def test_a_machine_without_threads_is_not_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.library(), "new", lambda *_: None)
    monkeypatch.setattr(
        module.library(), "last_error", lambda: KafkaError._CRIT_SYS_RESOURCE, raising=False
    )
    with pytest.raises(KafkaException) as refused:
        producer(Kafka(bootstrap=NOWHERE))
    assert client_options.refused_option(refused.value) is None


@pytest.mark.parametrize(
    ("largest", "beyond"),
    [
        (
            {"transaction_timeout_ms": 2_000, "socket_timeout_ms": 2_100},
            {"transaction_timeout_ms": 2_000, "socket_timeout_ms": 2_101},
        ),
        (
            {"session_timeout_ms": 6_000, "max_poll_interval_ms": 6_000},
            {"session_timeout_ms": 6_000, "max_poll_interval_ms": 5_999},
        ),
    ],
)
def test_the_settings_refuse_exactly_what_the_library_would(
    largest: dict[str, int], beyond: dict[str, int]
) -> None:
    taken(Kafka(bootstrap=NOWHERE, **largest))
    with pytest.raises(ValueError, match="must be"):
        Kafka(bootstrap=NOWHERE, **beyond)
    # A copy of the settings is not validated, so that the library refuses.
    with pytest.raises(KafkaException) as refused:
        taken(Kafka(bootstrap=NOWHERE).model_copy(update=beyond))
    assert client_options.refused_option(refused.value) is not None


def test_the_consumer_protocol_ignores_the_session_timeout() -> None:
    taken(Kafka(bootstrap=NOWHERE, group_protocol="consumer", max_poll_interval_ms=1_000))
