"""The topic ``activations``: which revision decides each partition from which offset on."""

from collections import deque
from collections.abc import Mapping

from stream_scorer.codec.records.record import RecordCodec, RecordError
from stream_scorer.errors import SchemaError
from stream_scorer.kafka.loop.control_topic import ControlRecord, KeptTopic
from stream_scorer.ports import BytesColumn, Outgoing
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.rollout.log.activation import BatchPlan
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RecordsSkipped

ACTIVE, _REFUSED = "ACTIVE", "REFUSED"
_STEP_SECONDS = 0.05


class ActivationLog:
    """Reads the topic, and encodes new records for it.

    Records that are not activations are skipped.

    Args:
        settings: The cluster and this instance.
        registry: Has the writers' schemas, and ours.
        listener: Notified of records that are not activations.

    Raises:
        RolloutError: The topic has several partitions, or its beginning was deleted.
        SettingsError: It does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(
        self, settings: Settings, registry: SchemaSource, listener: Listener = lambda _: None
    ) -> None:
        self._listener = listener
        self._topic = settings.kafka.topics.activations
        self._instance = settings.kafka.instance
        self._registry = registry
        schema = reader_schema("activation.v1", settings.registry.directory)
        self._codec = RecordCodec(registry.id_for(f"{self._topic}-value", schema), schema)
        self._records = KeptTopic(settings.kafka, self._topic)
        self._active: dict[int, list[tuple[int, int]]] = {}
        self._untaken: deque[ControlRecord] = deque()

    def mark_end(self) -> None:
        """Note the end that the topic has now, open transactions included.

        A process that takes over a partition must know all activations that its last owner
        committed, even if the transaction markers are not written yet.

        Raises:
            UnavailableError: The broker does not answer.
        """
        self._records.mark_end(stable=False)

    def read(self) -> bool:
        """Read some records; return whether all up to the noted end are read.

        Raises:
            RegistryUnavailableError: A writer's schema cannot be fetched now.
            UnavailableError: The broker does not answer.
        """
        if self._records.left:
            self._untaken += self._records.poll(_STEP_SECONDS)
        self._take_untaken()
        return not self._records.left

    def read_all(self) -> None:
        """Read to the end that the topic has now, open transactions included.

        Raises:
            RegistryUnavailableError: A writer's schema cannot be fetched now.
            UnavailableError: The broker does not answer, or no offset could be read for 30 s.
        """
        self._untaken += self._records.to_end(stable=False)
        self._take_untaken()

    def at(self, partition: int, next_offset: int) -> int | None:
        """Return the revision that decided the record before an offset; None if none did."""
        found = [each for each in self._active.get(partition, ()) if each[0] < next_offset]
        return max(found)[1] if found else None

    def last(self) -> Mapping[int, int]:
        """Return the last revision of each partition that has one."""
        return {partition: max(each)[1] for partition, each in self._active.items()}

    def timeline(self, partition: int) -> list[tuple[int, int]]:
        """Return (first offset, revision) of a partition, ascending."""
        return sorted(self._active.get(partition, ()))

    def outgoing(self, cut: BatchPlan, at_ms: int) -> list[Outgoing]:
        """Return the records of a batch's activations and refusals.

        Args:
            cut: The split batch.
            at_ms: Now, ms since the epoch.
        """
        told = [
            (begun.partition, begun.offset, begun.revision, ACTIVE, "", routing.versions)
            for begun, routing in cut.begun
        ]
        told += [
            (each.partition, each.offset, each.revision, _REFUSED, each.reason, {})
            for each in cut.refusals
        ]
        if not told:
            return []
        values = [
            self._codec.encode(
                {
                    "partition": partition,
                    "offset": offset,
                    "revision": revision,
                    "status": status,
                    "reason": reason,
                    "versions": {arm: version.label for arm, version in versions.items()},
                    "instance": self._instance,
                    "at": at_ms,
                }
            )
            for partition, offset, revision, status, reason, versions in told
        ]
        keys = [b"%d:%d" % (partition, revision) for partition, _, revision, *_ in told]
        return [Outgoing(self._topic, BytesColumn.of(values), BytesColumn.of(keys))]

    def close(self) -> None:
        """Close the connection."""
        self._records.close()

    def _take_untaken(self) -> None:
        while self._untaken:
            # A record whose schema cannot be fetched now stays the next.
            self._take(self._untaken[0])
            self._untaken.popleft()

    def _take(self, kept: ControlRecord) -> None:
        try:
            record = self._codec.decode(kept.value, self._registry)
        except (RecordError, SchemaError) as error:
            self._listener(RecordsSkipped("activations", 1, 0, kept.offset, error.what))
            return
        if record["status"] == ACTIVE:
            self._active.setdefault(record["partition"], []).append(
                (record["offset"], record["revision"])
            )
