"""Gateways that are killed, fenced and cut off publish each row of a device once."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.operator.progress import device_progress, rebuilt_progress
from stream_scorer.edge.upload.publisher import UploadRefused
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.settings import Kafka
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator
from tests.support.edge.published import Delivery, progress_in, rows_in
from tests.support.faults.proxy import Api, Behind, Fault
from tests.support.way_back.gateways import EdgeGateway, Gateways, upload_with_kills

pytestmark = pytest.mark.kafka

ROWS = 1_000
AT_ONCE = 50
SOCKET_MS = 1_000
TRANSACTION_MS = 4_000
SEED = 1


@pytest.fixture
def gateways() -> Iterator[Gateways]:
    opened: list[EdgeGateway] = []

    def open_gateway(*args: object, **options: object) -> EdgeGateway:
        opened.append(EdgeGateway(*args, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_gateway
    for each in opened:
        each.close()


@pytest.fixture
def ours(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Kafka:
    return kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap, socket_timeout_ms=SOCKET_MS,
            transaction_timeout_ms=TRANSACTION_MS,
        )
    )  # fmt: skip


def test_rows_and_progress_are_published_together(ours: Kafka, gateways: Gateways) -> None:
    device, other = MadeDevice("a"), MadeDevice("b")
    gateway = gateways(ours)
    rows = device.rows(120)
    for at in range(0, 120, AT_ONCE):
        gateway.publisher.publish("a", rows[at : at + AT_ONCE])
    gateway.publisher.publish("b", other.rows(1))
    found = rows_in(ours, ours.topics.transactions)
    assert Delivery.of(found, "a", 120) == Delivery(0, 0)
    told = progress_in(ours)
    assert told == {"a": EdgeProgress(120, device.chain), "b": EdgeProgress(1, other.chain)}
    # Another gateway continues where this one is, and skips what is there.
    second = gateways(ours)
    assert second.publisher.progress("a").sequence == 120
    more = device.rows(2)
    done = second.publisher.publish("a", [*rows[-3:], *more])
    assert (done.published, done.repeated) == (2, 3)
    # The first one does not know of it, and is fenced: the device repeats. After a slow request it
    # takes that for its own doing, and finds the rows by itself.
    with suppress(UnavailableError):
        assert gateway.publisher.publish("a", more).repeated == 2
    assert gateway.publisher.publish("a", more).repeated == 2
    device.rows(1)
    with pytest.raises(UploadRefused, match="gap"):
        gateway.publisher.publish("a", device.rows(1))
    assert Delivery.of(rows_in(ours, ours.topics.transactions), "a", 122) == Delivery(0, 0)


def test_killed_gateways_lose_and_double_nothing(ours: Kafka, gateways: Gateways) -> None:
    device = MadeDevice()
    rows = device.rows(ROWS)
    kills = upload_with_kills(ours, gateways, device.name, rows, 2 * AT_ONCE, SEED, checked=True)
    assert set(kills) == {"sent", "committed"}
    found = rows_in(ours, ours.topics.transactions)
    assert Delivery.of(found, device.name, ROWS) == Delivery(0, 0)
    assert progress_in(ours)[device.name] == EdgeProgress(ROWS, device.chain)


def test_without_the_check_the_same_kills_double_rows(ours: Kafka, gateways: Gateways) -> None:
    device = MadeDevice()
    rows = device.rows(ROWS)
    kills = upload_with_kills(ours, gateways, device.name, rows, 2 * AT_ONCE, SEED, checked=False)
    assert "committed" in kills
    found = rows_in(ours, ours.topics.transactions)
    assert Delivery.of(found, device.name, ROWS).duplicates > 0


@pytest.mark.parametrize("direction", ["request", "answer"])
def test_a_lost_end_of_a_transaction_is_settled(
    behind: Behind, ours: Kafka, gateways: Gateways, direction: str
) -> None:
    device = MadeDevice()
    rows = device.rows(200)
    gateway = gateways(ours)
    gateway.publisher.publish(device.name, rows[:50])
    fault = behind.proxy.fault(Api.END_TXN, direction, times=50)  # type: ignore[arg-type]
    with suppress(UnavailableError):
        gateway.publisher.publish(device.name, rows[:100])
    assert fault.hit.is_set()
    behind.proxy.forget(fault)
    reached = 0
    while reached < 200:
        with suppress(UnavailableError):
            reached = gateway.publisher.publish(device.name, rows[reached:]).progress.sequence
    found = rows_in(ours, ours.topics.transactions)
    assert Delivery.of(found, device.name, 200) == Delivery(0, 0)


def test_an_end_that_arrives_late_changes_nothing(
    behind: Behind, ours: Kafka, gateways: Gateways
) -> None:
    device = MadeDevice()
    rows = device.rows(150)
    held: list[Fault] = []

    def late(step: str) -> None:
        if step == "sent" and held and held[0].hit.is_set():
            # The next transaction is open when the end of the one before arrives.
            behind.proxy.release(held.pop())

    gateway = gateways(ours, late)
    gateway.publisher.publish(device.name, rows[:50])
    held.append(behind.proxy.fault(Api.END_TXN, "request", "hold"))
    with suppress(UnavailableError):
        gateway.publisher.publish(device.name, rows[:100])
    assert held[0].hit.is_set()
    gateway.publisher.publish(device.name, rows[:100])
    assert gateway.publisher.publish(device.name, rows).progress.sequence == 150
    assert not held
    found = rows_in(ours, ours.topics.transactions)
    assert Delivery.of(found, device.name, 150) == Delivery(0, 0)


def test_a_lost_progress_topic_is_a_gap_until_it_is_rebuilt(
    ours: Kafka, gateways: Gateways, kafka_topics: Callable[..., Kafka]
) -> None:
    operator, device = Operator(ours, Ed25519PrivateKey.generate()), MadeDevice()
    operator.register(device)
    rows = device.rows(40)
    gateways(ours).publisher.publish(device.name, rows[:30])
    topics = ours.topics.model_copy(update={"edge_progress": f"{ours.topics.edge_progress}-2"})
    other = kafka_topics(ours.model_copy(update={"topics": topics}))
    gateway = gateways(other)
    with pytest.raises(UploadRefused, match="gap"):
        gateway.publisher.publish(device.name, rows[25:])
    settings = replace(operator, kafka=other).settings
    assert device_progress(settings, device.name) == EdgeProgress()
    found = rebuilt_progress(settings, device.name)
    assert found == EdgeProgress(30, rows[30].previous)
    assert device_progress(settings, device.name) == found
    with pytest.raises(SettingsError, match="no row after 30"):
        rebuilt_progress(settings, device.name)
    done = gateway.publisher.publish(device.name, rows[25:])
    assert (done.published, done.repeated) == (10, 5)
    found_rows = rows_in(other, other.topics.transactions)
    assert Delivery.of(found_rows, device.name, 40) == Delivery(0, 0)
