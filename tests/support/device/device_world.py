"""A device in a folder: its release, its keys, its transactions, and a scorer over them."""

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.kernels.store import NEVER
from stream_scorer.edge.device.clock import DeviceClock
from stream_scorer.edge.device.decide import RecordDecider
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.device.recovery import DeviceBeginning, open_state
from stream_scorer.edge.device.release import DeviceRelease, load_release
from stream_scorer.edge.device.scorer import DeviceScorer
from stream_scorer.edge.device.state import DeviceFiles, DeviceState
from stream_scorer.edge.files.cipher import Cipher
from stream_scorer.edge.files.frames import LogIdentity
from stream_scorer.edge.files.log import Hook
from stream_scorer.edge.files.seed import StateSeed, hashes_ascending
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY

DEVICE = "till-17"
NOW = 1_522_600_000_000
VERSION = "1.0.1"
_HEADER = b"\0" + (1).to_bytes(4, "big")


Rings = list[tuple[bytes, bytes, bytes, bytes]]
"""Customer, times, amounts and ids of each ring."""


@dataclass(frozen=True)
class Record:
    """A request's record, as a producer encodes it."""

    value: bytes
    digest: bytes
    prefix: bytes = b""

    def key(self, customer: str) -> bytes:
        """Return the customer's key."""
        return self.prefix + customer.encode()


@cache
def _schema() -> Any:
    return fastavro.parse_schema(
        json.loads((SCHEMAS_DIRECTORY / "transaction.v1.avsc").read_text())
    )


def record(number: int, customers: int = 50, prefix: str = "", **changes: Any) -> Record:
    """Return the record of a transaction; the times of a customer's transactions ascend.

    Args:
        number: Its number.
        customers: How many customers there are.
        prefix: Begins the ids of transactions and customers.
        changes: Other values of fields.
    """
    fields = {
        "transaction_id": f"{prefix}t{number}", "event_time": NOW + number * 60_000,
        "customer_id": f"{prefix}customer-{number % customers}", "terminal_id": f"x{number % 7}",
        "amount_minor": 100 + (number * 7_919) % 90_000, "currency": "EUR", "channel": "POS",
        "mcc": None, "country": None, "card_present": None, "device_id": None,
    } | changes  # fmt: skip
    buffer = io.BytesIO(_HEADER)
    buffer.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(buffer, _schema(), fields)
    value = buffer.getvalue()
    return Record(value, hashlib.blake2b(value, digest_size=16).digest())


def make_release(folder: Path, version: str = VERSION) -> Path:
    """Write a release with a shipped bundle."""
    models = folder / "fraud"
    shutil.copytree(MODELS_DIRECTORY / "fraud" / version, models / version)
    shutil.copy(MODELS_DIRECTORY / "fraud" / "plan.toml", models)
    return folder


@dataclass
class DeviceWorld:
    """A device's folder, and what is started in it.

    Attributes:
        folder: The device's folder.
        release: The loaded release.
        place: Its folder.
        key: Signs the rows.
        cipher: Encrypts the files.
        wall: The machine's time, ms.
        device: Its name.
    """

    folder: Path
    release: DeviceRelease
    place: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    cipher: Cipher = field(default_factory=lambda: Cipher(bytes(range(32))))
    wall: Callable[[], int] = lambda: NOW + 2_000_000_000
    device: str = DEVICE

    def files(self, hook: Hook = lambda _: None, log_bytes_most: int = 2**26) -> DeviceFiles:
        """Return where its files are."""
        return DeviceFiles(self.folder, self.cipher, self.device, log_bytes_most, hook)

    def identity(self) -> LogIdentity:
        """Return that of the release."""
        return LogIdentity(self.device, self.release.content_hash, self.release.plan_sha256)

    def beginning(self, **changes: Any) -> DeviceBeginning:
        """Return how a new device begins: with an empty history that is complete."""
        kept = self.release.model.features.retention
        rings = kept.lateness_ms, kept.horizon_ms, kept.cap, kept.unit
        fields = self.release.model.features.engine.fields
        seed = StateSeed(self.device, 0, int(NEVER), 0, rings, fields, hashes_ascending([]), ())
        given: dict[str, Any] = {"now": self.wall(), "seed": seed} | changes
        return DeviceBeginning(**given)

    def state(self, hook: Hook = lambda _: None, **changes: Any) -> DeviceState:
        """Open the device's files."""
        features = self.release.model.features
        return open_state(self.files(hook), features, self.identity(), self.beginning(**changes))

    def scorer(
        self, state: DeviceState | None = None, *, rows_most: int = 100_000,
        bytes_most: int = 2**28,
    ) -> DeviceScorer:  # fmt: skip
        """Start the device's scorer."""
        state = self.state() if state is None else state
        decider = RecordDecider(self.release, state.history)
        clock = DeviceClock(self.wall, state.history.noted)
        return DeviceScorer(
            state, decider, self.key, clock, rows_most=rows_most, bytes_most=bytes_most
        )


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """Yield a new folder where a sync takes no time, if there is one; else one in a folder."""
    memory = Path("/dev/shm")  # noqa: S108 a folder below it is private
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else otherwise) as folder:
        yield Path(folder)


def content(history: DeviceHistory) -> Rings:
    """Return the rings of a device, which its next features are computed from."""
    return [
        (key, times.tobytes(), amounts.tobytes(), hashes.tobytes())
        for key, times, amounts, hashes in history.own.events()
    ]


@cache
def _release(folder: Path) -> DeviceRelease:
    return load_release(folder, SCHEMAS_DIRECTORY, ANY)


def device_world(folder: Path, release: Path) -> DeviceWorld:
    """Return a device in a folder.

    Args:
        folder: The device's folder.
        release: A release; the same folder is loaded once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return DeviceWorld(folder, _release(release), release)
