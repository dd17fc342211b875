"""The topic ``edge-progress``: up to which row each device's rows are published."""

import threading
import time
from typing import Final

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder, RecordError
from stream_scorer.edge.claims.contract import CHAIN_BYTES, EdgeProgress, is_device_name
from stream_scorer.errors import SchemaError, UnavailableError
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import BytesColumn, Outgoing, RawRecords
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RecordsSkipped

_SCHEMA: Final = "edge-progress.v1"
_RECORDS: Final = 1_000
_STEP_SECONDS: Final = 0.05


class ProgressTopic:
    """Reads the progress of all devices, and encodes new progress; thread-safe.

    Args:
        settings: The cluster and the topics.
        schemas: The registry.
        listener: Notified of skipped records.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker or the registry does not answer.
    """

    def __init__(
        self, settings: Settings, schemas: SchemaSource, listener: Listener = lambda _: None
    ) -> None:
        schema = reader_schema(_SCHEMA, settings.registry.directory)
        self._topic = settings.kafka.topics.edge_progress
        number = schemas.id_for(f"{self._topic}-value", schema)
        self._codec = RecordCodec(number, schema)
        self._decoder = RecordDecoder(schemas, schema, number)
        self._follower = TopicFollower(settings.kafka, self._topic, "edge-progress")
        self._listener = listener
        self._known: dict[str, EdgeProgress] = {}
        self._polled: RawRecords | None = None
        self._closed = False
        self._lock = threading.Lock()

    def newest(self, device: str) -> EdgeProgress:
        """Return a device's progress, read up to the topic's current end.

        The end is the high watermark, so that nothing that was committed before the call is
        missed. Reading up to it waits for the open transactions of other devices.

        Raises:
            UnavailableError: The broker does not answer, a transaction stays open for 30 s, or the
                connection is closed.
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        with self._lock:
            if self._closed:
                raise UnavailableError(f"topic {self._topic}: its reader is closed", "try again")
            self._follower.mark_end(stable=False)
            while self._polled is not None or self._follower.left:
                if self._polled is None:
                    self._polled = self._follower.poll_to_end(_RECORDS, _STEP_SECONDS)
                if self._polled is not None:
                    self._take(self._polled)
                    self._polled = None
            return self._known.get(device, EdgeProgress())

    def outgoing(self, device: str, progress: EdgeProgress, rows: int) -> Outgoing:
        """Return the record of a device's new progress."""
        value = self._codec.encode(
            {
                "device": device, "sequence": progress.sequence, "chain": progress.chain,
                "rows": rows, "at": time.time_ns() // 1_000_000,
            }
        )  # fmt: skip
        key = BytesColumn.of([device.encode()])
        return Outgoing(self._topic, BytesColumn.of([value]), key)

    def _take(self, raw: RawRecords) -> None:
        faults: list[tuple[int, str]] = []
        for row, (key, value) in enumerate(zip(raw.keys, raw.values, strict=True)):
            if value is None:
                continue
            try:
                self._add(key, value)
            except (RecordError, SchemaError, ValueError) as error:
                faults.append((row, str(error)))
        if faults:
            row, why = faults[0]
            place = int(raw.partition[row]), int(raw.offset[row])
            self._listener(RecordsSkipped("edge_progress", len(faults), *place, why))

    def _add(self, key: bytes | None, value: bytes) -> None:
        record = self._decoder.decode(value)
        device, chain = record["device"], record["chain"]
        if not is_device_name(device) or key != device.encode():
            raise ValueError("has the key of another device")
        if len(chain) != CHAIN_BYTES or record["sequence"] < 1:
            raise ValueError("does not state a progress")
        self._known[device] = EdgeProgress(record["sequence"], chain)

    def close(self) -> None:
        """Wait for a running read, then close the connection.

        A thread that polls a freed client would end the process.
        """
        with self._lock:
            self._closed = True
            self._follower.close()
