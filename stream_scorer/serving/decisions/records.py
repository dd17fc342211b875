"""Requests' JSON to the records of the input topic: values, keys and headers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as Directory
from typing import Any, Final

from stream_scorer.codec.records.record_key import refuse_unkeyed
from stream_scorer.codec.writing.json_text import (
    JsonNumber,
    JsonValueError,
    json_text,
    parse_json,
)
from stream_scorer.codec.writing.json_value import JsonValueEncoder, ValueLimits
from stream_scorer.codec.writing.made_up_record import made_up_record
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping, KeyRule, mapping_in
from stream_scorer.core.mapping.mapping_table import Path
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.producing.sender import VALUE_BYTES_MOST
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.limits import SchemaLimits
from stream_scorer.registry.sources import (
    SchemaSource,
    open_registry,
    reader_schema,
    registered,
)
from stream_scorer.serving.decisions.identity import BodyMark
from stream_scorer.serving.settings.decisions import DecisionsApi
from stream_scorer.settings import Settings

BATCH: Final = "transactions"
"""The only key of an object that is a batch."""
BATCH_MOST: Final = 1_000
_OWN: Final = "transaction.v1"
_MAGIC: Final = b"\0"


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The records of a request, parsed.

    Attributes:
        values: As ``parse_json`` returns them.
        batch: Whether they came as a batch.
    """

    values: tuple[Any, ...]
    batch: bool


def parse_body(body: bytes) -> RequestBody:
    """Parse a request's body: one object, an array of them, or ``{"transactions": [...]}``.

    Raises:
        JsonValueError: It is not JSON within the limits, or neither of these.
    """
    value = parse_json(body)
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BATCH), list):
        value = value[BATCH]
    if isinstance(value, dict):
        return RequestBody((value,), batch=False)
    if not isinstance(value, list):
        raise JsonValueError("must be an object or an array of objects")
    if not 0 < len(value) <= BATCH_MOST:
        raise JsonValueError(f"a batch has 1 to {BATCH_MOST} transactions")
    return RequestBody(tuple(value), batch=True)


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A request's record as it is produced.

    Attributes:
        value: The record's value, in Confluent framing unless it is JSON.
        mark: Which body it is.
        source: The parsed JSON.
    """

    value: bytes
    mark: BodyMark
    source: Any


@dataclass(frozen=True, slots=True)
class RecordForm:
    """What the records of requests must be.

    Attributes:
        definition: Their Avro schema; None: they are JSON objects.
        limits: Limits on a record.
    """

    definition: Definition | None
    limits: ValueLimits


class RecordMaker:
    """Encodes records and their keys as the producers of the input topic do.

    Args:
        source: The registry.
        settings: Subjects and versions of the schemas.
        plan: Format of the records and of their keys, and limits on sizes. A later plan may have
            other paths, but the records of this process keep their format and schema.
        topic: The input topic.
        directory: The folder of this project's schemas.

    Attributes:
        form: What the records must be.

    Raises:
        SchemaError: A schema is unknown or invalid.
        SettingsError: The settings do not fit the plan, its records may be larger than the producer
            sends, or records are not keyed by the customer.
        RegistryUnavailableError: The registry does not answer.
    """

    def __init__(
        self,
        source: SchemaSource,
        settings: DecisionsApi,
        plan: Plan,
        topic: str,
        directory: Directory,
    ) -> None:
        refuse_unkeyed(plan, topic)
        self._plan = plan
        _refuse_unsendable(plan)
        mapping = plan.mapping
        self._limits = ValueLimits.of(plan)
        self._encoder: JsonValueEncoder | None = None
        self._schema_id = 0
        definition = None
        if mapping is not None and mapping.fields and mapping.format == "json":
            _refuse_idle(settings, "events.toml maps JSON records")
        else:
            self._schema_id, text = _schema(source, settings, mapping, topic, directory)
            what = f"schema id {self._schema_id}"
            definition = parse_definition(text, what, SchemaLimits.of(plan))
            self._encoder = JsonValueEncoder(definition, self._limits)
        self.form = RecordForm(definition, self._limits)
        self._key = _key_maker(source, settings, plan, mapping)

    def made_up(self) -> bytes:
        """Return a valid record's value, to be judged before the first request.

        Judging it compiles the schema's decoder and the conversions of the mapping. A schema whose
        values depend on each other may have no such record: then it is the header alone, which
        compiles the decoder.
        """
        try:
            return self.record(made_up_record(self._plan, self.form.definition)).value
        except JsonValueError:
            return b"{}" if self._encoder is None else _MAGIC + self._schema_id.to_bytes(4, "big")

    def record(self, value: Any) -> EncodedRecord:
        """Encode a record.

        Raises:
            JsonValueError: It does not fit the schema, or exceeds a limit; names the path.
        """
        if self._encoder is not None:
            encoded = self._encoder.encode(value)
            head = _MAGIC + self._schema_id.to_bytes(4, "big")
            return EncodedRecord(head + encoded, BodyMark.of(self._schema_id, encoded), value)
        if not isinstance(value, dict):
            raise JsonValueError("must be an object")
        text = json_text(value).encode()
        if len(text) > self._limits.bytes_max:
            raise JsonValueError(f"longer than {self._limits.bytes_max} bytes")
        return EncodedRecord(text, BodyMark.of(0, text), value)

    def key(self, customer: str, record: EncodedRecord) -> bytes:
        """Return the key of a record.

        Args:
            customer: Its customer, as the mapping reads it.
            record: The record.

        Raises:
            JsonValueError: The key's schema cannot hold the customer.
        """
        return self._key(customer, record.source)


def record_maker(settings: Settings, deployment: Deployment) -> RecordMaker:
    """Return the record maker of a deployment with a plan file, without a broker.

    Args:
        settings: The registry, and the group ``serving.decisions``.
        deployment: Its plan.

    Raises:
        StreamScorerError: As :class:`RecordMaker`, or the plan cannot be read.
    """
    return RecordMaker(
        open_registry(settings.registry), settings.serving.decisions,
        deployed_plan(settings, deployment), settings.kafka.topics.transactions,
        settings.registry.directory,
    )  # fmt: skip


def _refuse_unsendable(plan: Plan) -> None:
    if plan.record_bytes_max > VALUE_BYTES_MOST:
        raise SettingsError(
            f"the plan's record_bytes_max is {plan.record_bytes_max}, and the API sends records of "
            f"at most {VALUE_BYTES_MOST} bytes",
            f"set record_bytes_max to {VALUE_BYTES_MOST} or less, or send larger records with your "
            "own producer",
        )


def _refuse_idle(settings: DecisionsApi, why: str) -> None:
    if settings.subject:
        raise SettingsError(
            f"setting serving.decisions.subject: has no effect: {why}", "leave it out"
        )


def _schema(
    source: SchemaSource, settings: DecisionsApi, mapping: EventMapping | None, topic: str,
    directory: Directory,
) -> tuple[int, str]:  # fmt: skip
    if mapping is not None and mapping.fields:
        if not settings.subject:
            raise SettingsError(
                "setting serving.decisions.subject: is missing, and events.toml maps Avro records",
                "name the subject and the version of the schema that your producers use",
            )
        return registered(source, settings.subject, settings.version)
    if settings.subject:
        return registered(source, settings.subject, settings.version)
    text = reader_schema(_OWN, directory)
    return source.id_for(f"{topic}-value", text), text


_Key = Callable[[str, Any], bytes]


def _key_maker(
    source: SchemaSource, settings: DecisionsApi, plan: Plan, mapping: EventMapping | None
) -> _Key:
    rule = mapping_in(plan.events).key
    if rule.kind != "path" or rule.path is None:
        if settings.key_subject:
            raise SettingsError(
                "setting serving.decisions.key_subject: has no effect: [key] has no path",
                "leave it out",
            )
        return lambda customer, _: customer.encode()
    if rule.format == "json":
        return _json_key(rule.path, _path_of_customer(mapping))
    return _avro_key(source, settings, plan, rule)


def _path_of_customer(mapping: EventMapping | None) -> Path:
    rules = () if mapping is None else mapping.fields
    found = next((rule.path for rule in rules if rule.column == "customer_id"), None)
    return found or ()


def _json_key(path: Path, of_customer: Path) -> _Key:
    def key(customer: str, record: Any) -> bytes:
        for name in of_customer:
            record = record.get(name) if isinstance(record, dict) else None
        # A number stays one: the same customer must have the same bytes from each producer.
        number = isinstance(record, JsonNumber)
        return json_text(_nested(path, JsonNumber(customer) if number else customer)).encode()

    return key


def _avro_key(source: SchemaSource, settings: DecisionsApi, plan: Plan, rule: KeyRule) -> _Key:
    if not settings.key_subject:
        raise SettingsError(
            "setting serving.decisions.key_subject: is missing, and [key] of events.toml has a "
            "path in an Avro key",
            "name the subject and the version of the schema of your producers' keys",
        )
    path = rule.path or ()
    schema_id, text = registered(source, settings.key_subject, settings.key_version)
    definition = parse_definition(text, f"schema id {schema_id}", SchemaLimits.of(plan))
    encoder = JsonValueEncoder(definition, ValueLimits.of(plan))
    head = _MAGIC + schema_id.to_bytes(4, "big")

    def key(customer: str, record: Any) -> bytes:
        del record  # the key's schema gives the type
        try:
            return head + encoder.encode(_nested(path, customer))
        except JsonValueError:
            if not JsonNumber(customer).whole:
                raise
        return head + encoder.encode(_nested(path, JsonNumber(customer)))

    return key


def _nested(path: Path, value: str) -> Mapping[str, Any] | str:
    for name in reversed(path):
        value = {name: value}  # type: ignore[assignment]
    return value
