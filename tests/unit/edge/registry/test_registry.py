"""What operators allow: who signed it, which record counts, and how often it is looked for."""

import base64
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.edge.registry.contract import (
    CUSTOMERS_MOST,
    DeviceRegistration,
    RegisteredKey,
    ReleaseRegistration,
    packed_customers,
)
from stream_scorer.edge.registry.registration import DEVICE, RegistrationRecord, registered
from stream_scorer.edge.registry.registry import LOOK_SECONDS, EdgeRegistry
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.security.keys import TrustedKey, key_id
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.telemetry import Event, RecordsSkipped
from tests.support.edge.devices import LABEL, RELEASE, MadeDevice

SCHEMA = reader_schema("edge-registration.v1")
CODEC = RecordCodec(24, SCHEMA)
FILES = FileRegistry(SCHEMAS_DIRECTORY)
OPERATOR = Ed25519PrivateKey.generate()
TRUSTED = {key_id(OPERATOR.public_key()): TrustedKey("risk", OPERATOR.public_key())}
RELEASED = ReleaseRegistration(
    label=LABEL, content_hash=RELEASE.content_hash.hex(), engine=3, features=3
)


def registration(device: MadeDevice, **changes: Any) -> DeviceRegistration:
    public = base64.b64encode(device.key.public_key().public_bytes_raw()).decode()
    return DeviceRegistration(device=device.name, keys=(RegisteredKey(public=public),), **changes)


class FakeTopic:
    """A topic of which a test decides what has arrived."""

    topic = "edge-registry"

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes | None, bytes | None]] = deque()
        self.marks = 0
        self._offset = 0

    def put(self, record: RegistrationRecord, key: bytes | None = None) -> None:
        """Append a record."""
        self.waiting.append((key or record.key, CODEC.encode(fields(record))))

    @property
    def left(self) -> int:
        """What has not been read."""
        return len(self.waiting)

    def mark_end(self, *, stable: bool) -> None:
        """Count the looks."""
        assert not stable
        self.marks += 1

    def poll(self, maximum: int, wait: float) -> RawRecords | None:
        """Return two records at most."""
        del maximum, wait
        taken = [self.waiting.popleft() for _ in range(min(2, len(self.waiting)))]
        if not taken:
            return None
        n = len(taken)
        self._offset += n
        return RawRecords(
            BytesColumn.of(v for _, v in taken), BytesColumn.of(k for k, _ in taken), None,
            np.zeros(n, np.int32), np.arange(self._offset - n, self._offset), np.zeros(n, np.int64),
        )  # fmt: skip

    poll_to_end = poll

    def close(self) -> None:
        """Nothing to close."""


def fields(record: RegistrationRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in RegistrationRecord.__slots__}


class World:
    def __init__(self, source: Any = FILES) -> None:
        self.topic, self.now, self.told = FakeTopic(), 100.0, list[Event]()
        self.registry = EdgeRegistry(
            self.topic, RecordDecoder(source, SCHEMA), TRUSTED,  # type: ignore[arg-type]
            self.told.append, lambda: self.now,
        )  # fmt: skip

    def skipped(self) -> list[str]:
        return [e.why for e in self.told if isinstance(e, RecordsSkipped)]


def test_a_signed_device_and_release_are_allowed() -> None:
    world, device = World(), MadeDevice()
    ids = ["c1", "c2"]
    told = registration(device, customers=packed_customers(ids), terminals=("x",))
    world.topic.put(registered(told, 1, 5, OPERATOR))
    world.topic.put(registered(RELEASED, 1, 5, OPERATOR))
    found = world.registry.device(device.name)
    assert found is not None
    assert found.customers == frozenset(hashes_of(pa.array(ids)).tolist())
    assert found.terminals == frozenset(hashes_of(pa.array(["x"])).tolist())
    assert found.revoked_after is None
    key = found.key_of(1)
    assert key is not None
    assert key.public_bytes_raw() == device.key.public_key().public_bytes_raw()
    assert world.registry.release(LABEL) == RELEASE
    assert world.registry.release(device.name) is None
    assert world.registry.known(DEVICE, device.name) is not None
    assert world.skipped() == []


def test_a_revocation_arrives_by_itself_and_stays() -> None:
    world, device = World(), MadeDevice()
    first = registered(registration(device), 1, 5, OPERATOR)
    world.topic.put(first)
    assert world.registry.device(device.name) is not None
    world.topic.put(registered(registration(device, revoked_after=7), 2, 6, OPERATOR))
    world.registry.follow()
    world.topic.put(first)
    world.topic.put(registered(registration(device, revoked_after=9), 2, 6, OPERATOR))
    world.topic.waiting.append((first.key, None))
    world.registry.follow()
    found = world.registry.device(device.name)
    assert found is not None
    assert found.revoked_after == 7
    assert world.topic.marks == 1


def test_a_later_start_takes_no_older_registration_sent_again() -> None:
    device = MadeDevice()
    first = registered(registration(device), 1, 5, OPERATOR)
    revoked = registered(registration(device, revoked_after=7), 2, 6, OPERATOR)
    # A process that starts reads all of it: the topic keeps everything.
    later = World()
    for record in (first, revoked, first):
        later.topic.put(record)
    later.topic.waiting.append((first.key, None))
    later.registry.catch_up()
    found = later.registry.device(device.name)
    assert found is not None
    assert found.revoked_after == 7
    assert later.skipped() == []
    # Compaction would leave the older one alone, which no process can tell from the newest one.
    compacted = World()
    compacted.topic.put(first)
    found = compacted.registry.device(device.name)
    assert found is not None
    assert found.revoked_after is None


def test_unknown_names_are_looked_for_once_a_second() -> None:
    world, device = World(), MadeDevice()
    for n in range(50):
        assert world.registry.device(f"invented-{n}") is None
    assert world.topic.marks == 1
    world.topic.put(registered(registration(device), 1, 5, OPERATOR))
    assert world.registry.device(device.name) is None
    # From then on it is found: `edge provision` waits for so long.
    world.now += LOOK_SECONDS
    assert world.registry.device(device.name) is not None
    assert world.topic.marks == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: replace(r, signature=bytes(64)), "no valid signature by risk"),
        (lambda r: replace(r, number=r.number + 1), "no valid signature by risk"),
        (lambda r: replace(r, body=r.body.replace('"format":1', '"format": 1')), "no valid"),
        (lambda r: replace(r, key_id="0" * 32), "unknown key"),
        (lambda r: replace(r, name="other"), "no valid signature"),
    ],
)
def test_what_no_operator_signed_is_skipped(change: Any, why: str) -> None:
    world, device = World(), MadeDevice()
    record = change(registered(registration(device), 1, 5, OPERATOR))
    world.topic.put(record)
    assert world.registry.device(device.name) is None
    assert world.registry.device("other") is None
    (told,) = world.skipped()
    assert why in told


def test_a_record_is_of_its_key_and_of_its_own_kind() -> None:
    world, device = World(), MadeDevice()
    record = registered(registration(device), 1, 5, OPERATOR)
    world.topic.put(record, b"device:other")
    for signed in (
        replace(record, kind="release", name=device.name), replace(record, kind="thing"),
        replace(record, number=0), replace(record, body='{"format":1}'),
        replace(record, body=record.body[:-1] + ',"more":1}'),
    ):  # fmt: skip
        world.topic.put(replace(signed, signature=OPERATOR.sign(signed.statement)))
    assert world.registry.device(device.name) is None
    assert sum(e.records for e in world.told if isinstance(e, RecordsSkipped)) == 6


def test_a_schema_registry_that_is_away_loses_no_record() -> None:
    class Away:
        away = True

        def writer_schema(self, schema_id: int) -> str:
            if self.away:
                raise RegistryUnavailableError("registry: away")
            return FILES.writer_schema(schema_id)

    source = Away()
    world, device = World(source), MadeDevice()
    world.topic.put(registered(registration(device), 1, 5, OPERATOR))
    with pytest.raises(RegistryUnavailableError):
        world.registry.follow()
    source.away = False
    world.registry.follow()
    assert world.registry.device(device.name) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "a/b"}, {"keys": ()}, {"customers": "x"}, {"customers": "AAAA"},
        {"revoked_after": -1}, {"terminals": ("t",) * 1_001},
    ],
)  # fmt: skip
def test_no_other_registration_is_made(changes: dict[str, Any]) -> None:
    good = registration(MadeDevice()).model_dump()
    with pytest.raises(ValueError):  # noqa: PT011 pydantic's
        DeviceRegistration(**{**good, **changes})


def test_a_device_has_its_keys_in_the_order_of_their_rows() -> None:
    good = registration(MadeDevice())
    public = good.keys[0].public
    for first in ((2,), (1, 1), (1, 5, 3), (1, 2, 3, 4, 5)):
        keys = tuple(RegisteredKey(public=public, from_sequence=n) for n in first)
        with pytest.raises(ValueError):  # noqa: PT011 pydantic's
            DeviceRegistration(device="d", keys=keys)
    assert len(packed_customers([str(n) for n in range(CUSTOMERS_MOST)])) < 900_000
