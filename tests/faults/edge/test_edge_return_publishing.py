"""Gateways that are killed, fenced and cut off publish each row of a device once."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow
from stream_scorer.edge.operator.progress import device_progress, rebuilt_progress
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, UploadRefused, producer_maker
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator
from tests.support.edge.published import Delivery, progress_in, rows_in
from tests.support.faults.proxy import Api, Behind

pytestmark = pytest.mark.kafka

ROWS = 1_000
AT_ONCE = 50
SOCKET_MS = 1_000
TRANSACTION_MS = 4_000
FILES = FileRegistry(SCHEMAS_DIRECTORY)


class Killed(BaseException):
    """The gateway's process ended here: nothing of it is closed in order."""


class EdgeGateway:
    """A publisher with its connections, as a gateway has them."""

    def __init__(
        self, kafka: Kafka, hook: Callable[[str], None] = lambda _: None, *, checked: bool = True
    ) -> None:
        self.progress = ProgressTopic(Settings(kafka=kafka), FILES)
        self.publisher = EdgePublisher(
            kafka.topics.transactions, self.progress, producer_maker(kafka, lambda _: None),
            hook=hook, checked=checked,
        )  # fmt: skip

    def close(self) -> None:
        """Close all connections."""
        self.publisher.close()
        self.progress.close()


Gateways = Callable[..., EdgeGateway]


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
def kafka(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Kafka:
    return kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap, socket_timeout_ms=SOCKET_MS,
            transaction_timeout_ms=TRANSACTION_MS,
        )
    )  # fmt: skip


def test_rows_and_progress_are_published_together(kafka: Kafka, gateways: Gateways) -> None:
    device, other = MadeDevice("a"), MadeDevice("b")
    gateway = gateways(kafka)
    rows = device.rows(120)
    for at in range(0, 120, AT_ONCE):
        gateway.publisher.publish("a", rows[at : at + AT_ONCE])
    gateway.publisher.publish("b", other.rows(1))
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, "a", 120) == Delivery(0, 0)
    told = progress_in(kafka)
    assert told == {"a": EdgeProgress(120, device.chain), "b": EdgeProgress(1, other.chain)}
    # Another gateway continues where this one is, and skips what is there.
    second = gateways(kafka)
    assert second.publisher.progress("a").sequence == 120
    more = device.rows(2)
    done = second.publisher.publish("a", [*rows[-3:], *more])
    assert (done.published, done.repeated) == (2, 3)
    # The first one does not know of it, and is fenced.
    with pytest.raises(UnavailableError):
        gateway.publisher.publish("a", more)
    assert gateway.publisher.publish("a", more).repeated == 2
    device.rows(1)
    with pytest.raises(UploadRefused, match="gap"):
        gateway.publisher.publish("a", device.rows(1))
    assert Delivery.of(rows_in(kafka, kafka.topics.transactions), "a", 122) == Delivery(0, 0)


def _upload(
    kafka: Kafka, gateways: Gateways, rows: list[EdgeRow], device: str, seed: int, *, checked: bool
) -> None:
    """Upload all rows through two gateways, which are killed at hooks; the device repeats."""
    chance = random.Random(seed)  # noqa: S311 a test's choice, not a secret
    kills = 0

    def fails(step: str) -> None:
        nonlocal kills
        if kills < 8 and chance.random() < 0.25:
            kills += 1
            raise Killed(step)

    both = [gateways(kafka, fails, checked=checked) for _ in range(2)]
    reached = 0
    while reached < len(rows):
        at = chance.randrange(2)
        try:
            # A gateway that the other one has fenced answers 503, and the device repeats.
            with suppress(UnavailableError):
                sent = rows[reached : reached + chance.randint(1, 2 * AT_ONCE)]
                reached = max(reached, both[at].publisher.publish(device, sent).progress.sequence)
        except Killed:
            both[at] = gateways(kafka, fails, checked=checked)
    assert kills


def test_killed_gateways_lose_and_double_nothing(kafka: Kafka, gateways: Gateways) -> None:
    device = MadeDevice()
    rows = device.rows(ROWS)
    _upload(kafka, gateways, rows, device.name, 1, checked=True)
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, device.name, ROWS) == Delivery(0, 0)
    assert progress_in(kafka)[device.name] == EdgeProgress(ROWS, device.chain)


def test_without_the_check_the_same_kills_double_rows(kafka: Kafka, gateways: Gateways) -> None:
    device = MadeDevice()
    rows = device.rows(ROWS)
    _upload(kafka, gateways, rows, device.name, 1, checked=False)
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, device.name, ROWS).duplicates > 0


@pytest.mark.parametrize("direction", ["request", "answer"])
def test_a_lost_end_of_a_transaction_is_settled(
    behind: Behind, kafka: Kafka, gateways: Gateways, direction: str
) -> None:
    device = MadeDevice()
    rows = device.rows(200)
    gateway = gateways(kafka)
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
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, device.name, 200) == Delivery(0, 0)


def test_an_end_that_arrives_late_changes_nothing(
    behind: Behind, kafka: Kafka, gateways: Gateways
) -> None:
    device = MadeDevice()
    rows = device.rows(150)
    gateway = gateways(kafka)
    gateway.publisher.publish(device.name, rows[:50])
    fault = behind.proxy.fault(Api.END_TXN, "request", "hold")
    with suppress(UnavailableError):
        gateway.publisher.publish(device.name, rows[:100])
    assert fault.hit.is_set()
    gateway.publisher.publish(device.name, rows[:100])
    behind.proxy.release(fault)
    gateway.publisher.publish(device.name, rows)
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, device.name, 150) == Delivery(0, 0)


def test_a_lost_progress_topic_is_a_gap_until_it_is_rebuilt(
    kafka: Kafka, gateways: Gateways, kafka_topics: Callable[..., Kafka]
) -> None:
    operator, device = Operator(kafka, Ed25519PrivateKey.generate()), MadeDevice()
    operator.register(device)
    rows = device.rows(40)
    gateways(kafka).publisher.publish(device.name, rows[:30])
    topics = kafka.topics.model_copy(update={"edge_progress": f"{kafka.topics.edge_progress}-2"})
    other = kafka_topics(kafka.model_copy(update={"topics": topics}))
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
