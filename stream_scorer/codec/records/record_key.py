"""The customer that a record's key names, by ``[key]`` of events.toml."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from stream_scorer.codec.reading.mapped import JsonDecoder, MappedDecoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping, FieldRule, KeyRule, mapping_in
from stream_scorer.errors import SettingsError
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.settings import SCHEMAS_DIRECTORY

_COLUMN: Final = "customer_id"

_Reader = Callable[[Sequence[bytes | None]], list[str | None]]


class KeyReader:
    """Reads the customers' ids from keys, by the mapping of a plan.

    Args:
        source: Returns writer schemas of Avro keys by id.
        directory: The folder of this project's schemas.
    """

    def __init__(self, source: SchemaSource, directory: Path = SCHEMAS_DIRECTORY) -> None:
        self._source = source
        self._directory = directory
        self._open: tuple[Plan, _Reader] | None = None

    def __call__(self, keys: Sequence[bytes | None], plan: Plan) -> list[str | None]:
        """Return the customer's id of each key; None if it cannot be read.

        Args:
            keys: n keys, null for a record without one.
            plan: ``[key]`` and the limits on sizes.

        Raises:
            RegistryUnavailableError: A writer schema is unavailable at the moment.
        """
        if self._open is None or self._open[0] is not plan:
            self._open = plan, _open(self._source, plan, self._directory)
        return self._open[1](keys)


def refuse_unkeyed(plan: Plan, topic: str) -> None:
    """Refuse a plan that states that the topic is not keyed by the customer.

    Args:
        plan: The plan of a process that needs all records of a customer in one partition.
        topic: The topic that it reads.

    Raises:
        SettingsError: ``[key]`` has ``customer = "none"``.
    """
    if mapping_in(plan.events).key.kind == "none":
        raise SettingsError(
            f'events.toml: key.customer = "none": topic {topic} is not keyed by the customer',
            "copy it to a topic that is: stream-scorer rekey",
        )


def _open(source: SchemaSource, plan: Plan, directory: Path) -> _Reader:
    rule = mapping_in(plan.events).key
    if rule.kind != "path":
        return _raw_customers
    column = FieldRule("key.path", _COLUMN, "string", rule.path)
    mapping = EventMapping(rule.format, (), (column,), (), KeyRule(), {})
    decoder = (
        JsonDecoder(mapping, plan)
        if rule.format == "json"
        else MappedDecoder(mapping, source, plan, directory)
    )

    def customers(keys: Sequence[bytes | None]) -> list[str | None]:
        decoded = decoder.decode(BytesColumn.of(keys), budgeted=True)
        found: list[str | None] = [None] * len(keys)
        ids = decoded.records.column(_COLUMN).to_pylist()
        for row, customer in zip(decoded.rows.tolist(), ids, strict=True):
            found[row] = customer
        return found

    return customers


def _raw_customers(keys: Sequence[bytes | None]) -> list[str | None]:
    return [None if key is None else _text(key) for key in keys]


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
