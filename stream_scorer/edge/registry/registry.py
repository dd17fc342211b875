"""Follows the registry of devices: which devices and releases operators allow.

A registration that is not known is looked for up to the topic's current end, at most once a second
for all unknown names together: a flood of made-up names costs no more. ``edge provision`` returns
only when every process may look again, so that no row of a registered device is refused for it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.codec.records.record import RecordDecoder, RecordError
from stream_scorer.edge.claims.verify import AllowedDevice, AllowedRelease
from stream_scorer.edge.registry.registration import (
    DEVICE,
    RELEASE,
    Registration,
    RegistrationRecord,
)
from stream_scorer.errors import SchemaError
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.security.keys import TrustedKey, read_trusted
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RecordsSkipped

LOOK_SECONDS: Final = 1.0
"""Least time between two searches for unknown names."""
_RECORDS: Final = 1_000
_STEP_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class KnownRegistration:
    """The newest registration of a name: what it says, and as it was signed."""

    registration: Registration
    record: RegistrationRecord


class EdgeRegistry:
    """The registrations that this process has read; thread-safe.

    Args:
        follower: Reads the topic.
        decoder: Decodes its records.
        trusted: The operators' keys by key id; a record of another key is skipped.
        listener: Notified of skipped records.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, follower: TopicFollower, decoder: RecordDecoder, trusted: Mapping[str, TrustedKey],
        listener: Listener, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._follower = follower
        self._decoder = decoder
        self._trusted = trusted
        self._listener = listener
        self._clock = clock
        self._known: dict[bytes, KnownRegistration] = {}
        self._allowed: dict[bytes, AllowedDevice | AllowedRelease] = {}
        self._looked = float("-inf")
        self._polled: RawRecords | None = None
        self._lock = threading.RLock()

    def follow(self) -> None:
        """Take over what has arrived, without waiting.

        Raises:
            UnavailableError: The topic is gone or may not be read.
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        with self._lock:
            while self._poll(to_end=False):
                pass

    def catch_up(self) -> None:
        """Read to the topic's current end.

        Raises:
            UnavailableError: The broker does not answer, or no offset could be read for 30 s.
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        with self._lock:
            self._follower.mark_end(stable=False)
            while self._polled is not None or self._follower.left:
                self._poll(to_end=True)

    def device(self, name: str) -> AllowedDevice | None:
        """Return a device, after a search if it is unknown.

        Raises:
            UnavailableError: As :meth:`catch_up`.
        """
        found = self._found(f"{DEVICE}:{name}".encode())
        return found if isinstance(found, AllowedDevice) else None

    def release(self, label: str) -> AllowedRelease | None:
        """Return a release, likewise."""
        found = self._found(f"{RELEASE}:{label}".encode())
        return found if isinstance(found, AllowedRelease) else None

    def known(self, kind: str, name: str) -> KnownRegistration | None:
        """Return the newest registration of a name that was read."""
        return self._known.get(f"{kind}:{name}".encode())

    def _found(self, key: bytes) -> AllowedDevice | AllowedRelease | None:
        with self._lock:
            if key not in self._allowed:
                now = self._clock()
                if now - self._looked < LOOK_SECONDS:
                    return None
                self.catch_up()
                self._looked = now
            return self._allowed.get(key)

    def _poll(self, *, to_end: bool) -> bool:
        """Take over the next records; return whether there were any.

        After an error, the next call takes over what was polled.
        """
        if self._polled is None:
            poll = self._follower.poll_to_end if to_end else self._follower.poll
            self._polled = poll(_RECORDS, _STEP_SECONDS if to_end else 0.0)
        if self._polled is None:
            return False
        self._take(self._polled)
        self._polled = None
        return True

    def _take(self, raw: RawRecords) -> None:
        faults: list[tuple[int, str]] = []
        for row, (key, value) in enumerate(zip(raw.keys, raw.values, strict=True)):
            try:
                self._add(key, value)
            except (RecordError, SchemaError, ValueError) as error:
                faults.append((row, str(error)))
        if faults:
            row, why = faults[0]
            place = int(raw.partition[row]), int(raw.offset[row])
            self._listener(RecordsSkipped("edge_registry", len(faults), *place, why))

    def _add(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            # A deletion is not signed, so it deletes nothing that this process knows.
            return
        record = RegistrationRecord.of(self._decoder.decode(value))
        registration = record.registration(self._trusted)
        if key != record.key:
            raise ValueError("has the key of another registration")
        before = self._known.get(key)
        if before is not None and record.number <= before.record.number:
            return
        self._known[key] = KnownRegistration(registration, record)
        self._allowed[key] = registration.allowed()

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()


def open_edge_registry(
    settings: Settings, schemas: SchemaSource, listener: Listener = lambda _: None
) -> EdgeRegistry:
    """Read the registry of devices to its current end, and follow it.

    Raises:
        SettingsError: The topic does not exist, or a key of ``edge.trusted_keys`` cannot be read.
        UnavailableError: The broker does not answer.
    """
    schema = reader_schema("edge-registration.v1", settings.registry.directory)
    trusted = read_trusted(settings.edge.trusted_keys, "edge.trusted_keys")
    follower = TopicFollower(settings.kafka, settings.kafka.topics.edge_registry, "edge-registry")
    found = EdgeRegistry(follower, RecordDecoder(schemas, schema), trusted, listener)
    try:
        found.catch_up()
    except BaseException:
        found.close()
        raise
    return found
