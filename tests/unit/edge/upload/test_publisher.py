"""Every row once, in order, whatever happens to gateways: and without the check, twice."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow
from stream_scorer.edge.upload.publisher import IDLE_SECONDS, EdgePublisher, UploadRefused
from stream_scorer.errors import UnavailableError
from stream_scorer.ports import TransactionAborted
from tests.support.edge.devices import MadeDevice, decision_of
from tests.support.edge.fake_cluster import FakeCluster, FakeDeviceProducer


class Gateway:
    """A publisher whose producers a test can reach."""

    def __init__(
        self, cluster: FakeCluster, most: int = 8, clock: Callable[[], float] = lambda: 0.0,
        hook: Callable[[str], None] = lambda _: None, *, checked: bool = True,
    ) -> None:  # fmt: skip
        self.made: list[FakeDeviceProducer] = []
        self.prepare: Callable[[FakeDeviceProducer], None] = lambda _: None

        def make(device: str) -> FakeDeviceProducer:
            producer = cluster.producer(device)
            self.prepare(producer)
            self.made.append(producer)
            return producer

        self.publisher = EdgePublisher(
            "transactions", cluster, make, most, clock, hook, checked=checked
        )
        self.publish = self.publisher.publish


def test_rows_are_published_once_and_repeats_are_counted() -> None:
    cluster, device = FakeCluster(), MadeDevice()
    gateway = Gateway(cluster)
    rows = device.rows(5)
    done = gateway.publish(device.name, rows[:3])
    assert (done.published, done.repeated, done.progress.sequence) == (3, 0, 3)
    done = gateway.publish(device.name, rows)
    assert (done.published, done.repeated) == (2, 3)
    assert done.progress == EdgeProgress(5, device.chain)
    again = gateway.publish(device.name, rows[:4])
    assert (again.published, again.repeated, again.progress) == (0, 4, done.progress)
    assert cluster.sequences(device.name) == [1, 2, 3, 4, 5]
    assert cluster.newest(device.name) == done.progress
    assert len(gateway.made) == 1


def test_a_gap_and_a_fork_are_refused_and_publish_nothing() -> None:
    cluster, device = FakeCluster(), MadeDevice()
    gateway = Gateway(cluster)
    rows = device.rows(4)
    gateway.publish(device.name, rows[:2])
    with pytest.raises(UploadRefused) as caught:
        gateway.publish(device.name, rows[3:])
    assert (caught.value.kind, caught.value.progress.sequence) == ("gap", 2)
    # The same device from a copied disk: it continues from row 1, with other rows.
    copy = MadeDevice(device.name, device.key, 1, rows[1].previous)
    others = [copy.row(b"other", decision_of("other")), *copy.rows(2)]
    for forked in (others, others[:1], others[1:]):
        with pytest.raises(UploadRefused) as caught:
            gateway.publish(device.name, forked)
        assert caught.value.kind == "fork"
    for bad in (
        [rows[0], rows[2]],
        [rows[1], rows[0]],
        [rows[2], replace(rows[3], previous=bytes(32))],
    ):
        with pytest.raises(UploadRefused) as caught:
            gateway.publish(device.name, bad)
        assert caught.value.kind == "order"
    assert cluster.sequences(device.name) == [1, 2]
    assert gateway.publish(device.name, rows).published == 2


def test_a_gateway_that_another_one_overtook_reads_again() -> None:
    cluster, device = FakeCluster(), MadeDevice()
    first, second = Gateway(cluster), Gateway(cluster)
    rows = device.rows(6)
    first.publish(device.name, rows[:2])
    second.publish(device.name, rows[:4])
    # What the first one remembers would make a gap of these rows.
    assert first.publish(device.name, rows[4:]).published == 2
    assert second.publish(device.name, device.rows(1)).published == 1
    assert cluster.sequences(device.name) == [1, 2, 3, 4, 5, 6, 7]


def test_a_fenced_upload_publishes_nothing_and_is_repeated() -> None:
    cluster, device = FakeCluster(), MadeDevice()
    first, second = Gateway(cluster), Gateway(cluster)
    rows = device.rows(4)
    first.publish(device.name, rows[:1])
    first.made[0].before_commit = lambda: second.publish(device.name, rows[:3])
    with pytest.raises(UnavailableError):
        first.publish(device.name, rows[:2])
    assert cluster.sequences(device.name) == [1, 2, 3]
    assert first.publish(device.name, rows).published == 1
    assert cluster.sequences(device.name) == [1, 2, 3, 4]


@pytest.mark.parametrize(("how", "published"), [("before", 2), ("after", 4)])
def test_an_uncertain_commit_is_settled_by_reading(how: str, published: int) -> None:
    cluster, device = FakeCluster(), MadeDevice()
    gateway = Gateway(cluster)
    rows = device.rows(4)
    gateway.publish(device.name, rows[:2])
    gateway.made[0].uncertain = how
    if how == "before":
        with pytest.raises(UnavailableError):
            gateway.publish(device.name, rows)
    else:
        assert gateway.publish(device.name, rows).published == 2
    assert len(cluster.published) == published
    assert gateway.publish(device.name, rows).progress.sequence == 4
    assert cluster.sequences(device.name) == [1, 2, 3, 4]


def test_a_producer_that_is_born_again_by_itself_reads_again() -> None:
    # It takes the other gateway's fencing for its own late request, and would go on.
    cluster, device = FakeCluster(), MadeDevice()
    first, second = Gateway(cluster), Gateway(cluster)
    rows = device.rows(5)
    first.publish(device.name, rows[:1])
    second.publish(device.name, rows[:3])
    first.made[0].own_doing = True
    done = first.publish(device.name, rows)
    assert (done.published, done.repeated) == (2, 3)
    assert cluster.sequences(device.name) == [1, 2, 3, 4, 5]


def test_a_row_that_is_too_large_is_refused_and_others_go_on() -> None:
    cluster, device = FakeCluster(), MadeDevice()
    gateway = Gateway(cluster)
    rows = device.rows(2)
    gateway.publish(device.name, rows[:1])
    gateway.made[0].aborts = TransactionAborted("large", network=False, too_large=True)
    with pytest.raises(UploadRefused) as caught:
        gateway.publish(device.name, rows[1:])
    assert (caught.value.kind, caught.value.progress.sequence) == ("large", 1)
    gateway.made[0].aborts = TransactionAborted("network", network=True)
    with pytest.raises(UnavailableError):
        gateway.publish(device.name, rows[1:])
    assert gateway.publish(device.name, rows[1:]).published == 1
    assert cluster.sequences(device.name) == [1, 2]


def test_idle_producers_are_closed_and_so_are_too_many() -> None:
    cluster, now = FakeCluster(), [0.0]
    gateway = Gateway(cluster, most=2, clock=lambda: now[0])
    devices = [MadeDevice(f"d{n}") for n in range(3)]
    for device in devices:
        gateway.publish(device.name, device.rows(1))
    assert (gateway.publisher.producers, cluster.closed) == (2, 1)
    now[0] += IDLE_SECONDS
    gateway.publish("d2", devices[2].rows(1))
    assert (gateway.publisher.producers, cluster.closed) == (1, 2)
    gateway.publish("d0", devices[0].rows(1))
    assert cluster.sequences("d0") == [1, 2]
    gateway.publisher.close()
    assert (gateway.publisher.producers, cluster.closed) == (0, 4)


def test_a_device_has_one_upload_at_a_time_and_others_go_on() -> None:
    cluster, device, other = FakeCluster(), MadeDevice("a"), MadeDevice("b")
    rows, told = device.rows(2), list[str]()

    def meanwhile(step: str) -> None:
        if step != "sent" or told:
            return
        told.append(step)
        with pytest.raises(UnavailableError, match="another upload"):
            gateway.publish("a", rows[:1])
        assert gateway.publish("b", other.rows(1)).published == 1

    gateway = Gateway(cluster, hook=meanwhile)
    assert gateway.publish("a", rows).published == 2
    assert told == ["sent"]
    assert (cluster.sequences("a"), cluster.sequences("b")) == ([1, 2], [1])
    assert gateway.publish("a", device.rows(1)).published == 1


class Killed(BaseException):
    """The gateway's process ended here."""


def _deliver(seed: int, *, checked: bool) -> tuple[list[int], int]:
    """Upload 40 rows through two gateways that are killed, fenced and cut off from answers."""
    chance = random.Random(seed)  # noqa: S311 a test's choice, not a secret
    cluster, device = FakeCluster(), MadeDevice()
    rows: list[EdgeRow] = device.rows(40)

    def fails(step: str) -> None:
        if chance.random() < 0.15:
            raise Killed(step)

    def prepare(producer: FakeDeviceProducer) -> None:
        producer.own_doing = chance.random() < 0.3

    def gateway() -> Gateway:
        made = Gateway(cluster, hook=fails, checked=checked)
        made.prepare = prepare
        return made

    gateways = [gateway(), gateway()]
    reached = 0
    for _ in range(2_000):
        if reached == len(rows):
            break
        at = chance.randrange(2)
        for producer in gateways[at].made[-1:]:
            producer.uncertain = chance.choice(["", "", "", "before", "after"])
        try:
            with suppress(UnavailableError):
                sent = rows[reached : reached + chance.randint(1, 7)]
                reached = max(reached, gateways[at].publish(device.name, sent).progress.sequence)
        except Killed:
            gateways[at] = gateway()
    return cluster.sequences(device.name), reached


@pytest.mark.parametrize("seed", range(60))
def test_failing_gateways_publish_each_row_once(seed: int) -> None:
    published, reached = _deliver(seed, checked=True)
    assert reached == 40
    assert published == list(range(1, 41))


def test_without_the_check_rows_are_published_twice() -> None:
    doubled = 0
    for seed in range(20):
        published, _ = _deliver(seed, checked=False)
        doubled += len(published) - len(set(published))
    assert doubled > 0
