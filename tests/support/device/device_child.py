"""A device in a process of its own, which ends at a step of its writes as by kill -9."""

import multiprocessing
import os
import resource
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.device import state as device_state
from stream_scorer.edge.device.scorer import DeviceRefused
from stream_scorer.edge.device.upload import UploadClient, Uploader
from stream_scorer.edge.run.https_upload import HttpsUpload
from stream_scorer.edge.run.kafka_upload import KafkaUpload
from stream_scorer.edge.settings.device import Edge
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, producer_maker
from stream_scorer.errors import UnavailableError
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings
from tests.support.device.device_world import DEVICE, NOW, DeviceWorld, device_world, record

ANSWERED, DRAINED = "answered", "drained"
KILLED = -signal.SIGKILL
UPLOAD_ROWS = 1_000


@dataclass(frozen=True)
class ChildOrder:
    """What a device in a process of its own does.

    Attributes:
        folder: The device's folder.
        release: The release.
        key: The signing key, raw.
        first: Number of the first transaction.
        end: Number after the last one.
        step: Where the process ends; empty: it does not.
        times: When the step is reached for so many times.
        tail: Events after which the log is written again.
        customers: How many customers the transactions have.
        clock_back: By how many ms the machine's clock is set back.
        file_most: Bytes of a file above which the disk is full; 0: it is not.
        device: The device; it also begins the ids of its transactions, unless it is the usual one.
        url: Where rows are uploaded to, instead of deciding; empty: nowhere.
        api_key: The device's key of the API.
        kafka: The cluster that rows are published to directly, instead of deciding; None: none.
        asks: Whether the device asks what is published before it sends; only a test says no.
        checks: Whether its publisher skips what is published; only a test says no.
    """

    folder: Path
    release: Path
    key: bytes
    first: int
    end: int
    step: str = ""
    times: int = 1
    tail: int = 20_000
    customers: int = 50
    clock_back: int = 0
    file_most: int = 0
    device: str = DEVICE
    url: str = ""
    api_key: str = ""
    kafka: Kafka | None = None
    asks: bool = True
    checks: bool = True

    @property
    def prefix(self) -> str:
        """Begins the ids of the device's transactions."""
        return "" if self.device == DEVICE else f"{self.device}-"

    def world(self) -> DeviceWorld:
        """Return the device."""
        found = device_world(self.folder, self.release)
        found.device = self.device
        found.key = Ed25519PrivateKey.from_private_bytes(self.key)
        found.wall = lambda: NOW + 2_000_000_000 - self.clock_back
        return found


def fork_server() -> ForkServerContext:
    """Return what starts children quickly: one process imports all, and each child is its fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.device.device_child"])
    return context


class KilledAt:
    """A hook that kills the process when a step is reached for the n-th time."""

    def __init__(self, step: str, times: int) -> None:
        self._step = step
        self._left = times

    def __call__(self, step: str) -> None:
        """Note a step."""
        if step == self._step:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def run_child(order: ChildOrder) -> None:
    """Decide transactions, or upload their rows.

    The number of each transaction that was answered is appended to ``answered``. It ends at the
    first refusal.
    """
    device_state.TAIL_EVENTS_MOST = order.tail  # type: ignore[misc]
    hook = KilledAt(order.step, order.times)
    if order.url or order.kafka is not None:
        upload(order, hook)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    world = order.world()  # makes the folder
    answered = os.open(order.folder / ANSWERED, flags, 0o600)
    with world.scorer(world.state(hook)) as scorer:
        if order.file_most:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_most, order.file_most))
        for number in range(order.first, order.end):
            try:
                scorer.decide(record(number, order.customers, order.prefix))
            except DeviceRefused:
                return
            os.write(answered, b"%d\n" % number)


def client_of(order: ChildOrder) -> UploadClient:
    """Return what publishes a device's rows."""
    if order.kafka is None:
        return HttpsUpload(order.url, order.device, order.api_key)
    settings = Settings(kafka=order.kafka, edge=Edge(device=order.device, directory=order.folder))
    progress = ProgressTopic(settings, FileRegistry(SCHEMAS_DIRECTORY))
    publisher = EdgePublisher(
        order.kafka.topics.transactions, progress,
        producer_maker(order.kafka, lambda _: None), checked=order.checks,
    )  # fmt: skip
    stack = ExitStack()
    stack.callback(progress.close)
    stack.callback(publisher.close)
    return KafkaUpload(order.device, publisher, stack)


def upload(order: ChildOrder, hook: KilledAt) -> None:
    """Upload all rows of a device; an outage is tried again.

    Rows, begin and end, by the machine's monotonic clock, are written to ``drained``.
    """
    state = order.world().state()
    client = client_of(order)
    with Uploader(state.outbox, order.device, client, UPLOAD_ROWS, hook) as uploader:
        # What an earlier process has uploaded is deleted, and not sent again.
        first = client.progress().sequence
        uploader._asked = not order.asks
        began, more = time.monotonic(), True
        while more:
            try:
                more = uploader.step()
            except UnavailableError:
                more = True
        rows = uploader.published.sequence - first
        (order.folder / DRAINED).write_text(f"{rows} {began} {time.monotonic()}")
    state.close()


def ended(context: ForkServerContext, order: ChildOrder) -> int | None:
    """Run a child to its end; return its exit code."""
    child = context.Process(target=run_child, args=(order,))
    child.start()
    child.join(120)
    return child.exitcode
