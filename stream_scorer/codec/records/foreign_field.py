"""Reads an extra field that another plan defines, from records that their own plan's decoder reads.

The value depends on the record, on the field's definition, and on the plan that decides the record.
It does not depend on the other plan's format and limits, on a time budget or on the registry's
state.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as Directory

from stream_scorer.codec.reading.decode import ColumnDecoder, Writer
from stream_scorer.codec.reading.mapped import (
    EventDecoder,
    JsonDecoder,
    MappedDecoder,
    PayloadDecoder,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.errors import RegistryUnavailableError, SchemaError
from stream_scorer.registry.sources import SchemaSource, look_up
from stream_scorer.settings import SCHEMAS_DIRECTORY


def open_field_decoder(
    main: EventDecoder, source: SchemaSource, stored: str, other: Plan,
    directory: Directory = SCHEMAS_DIRECTORY,
) -> PayloadDecoder:  # fmt: skip
    """Return the decoder of one extra field, by its own rule alone.

    Args:
        main: The decoder of the plan that decides the records. Its format and limits hold.
        source: Returns writer schemas by id.
        stored: The field, as rings name it.
        other: A plan that defines the field.
        directory: The folder of this project's schemas.
    """
    mapping = other.mapping
    assert mapping is not None  # noqa: S101 only a mapping defines extra fields
    name = stored.partition(":")[0]
    rules = tuple(rule for rule in mapping.extras if rule.column == name)
    alone = replace(mapping, fields=(), extras=rules, where=(), rates={}, labels=None)
    if isinstance(main.columns, ColumnDecoder):
        return _AvroField(alone, source, main.plan, main.columns, directory)
    return JsonDecoder(alone, main.plan)


class _AvroField(MappedDecoder):
    """Decodes one field of records that ``main`` has decoded.

    With ``budgeted``, the time for new schemas is owed to ``main``'s budget: ``main`` then prepares
    fewer new schemas. Here every schema is prepared.
    """

    def __init__(
        self, mapping: EventMapping, source: SchemaSource, plan: Plan, main: ColumnDecoder,
        directory: Directory,
    ) -> None:  # fmt: skip
        super().__init__(mapping, source, plan, directory)
        self._main = main

    def _texts_of(self, ids: list[int], *, budgeted: bool) -> dict[int, str | SchemaError]:
        """Return the JSON of new schemas, if possible from ``main``.

        ``main`` has the schema of almost every record that it has just decoded, whatever the
        registry answers now. Otherwise a pause cannot last: ``main`` asks the registry itself when
        the batch is decoded again, and rejects the record if the registry does not know the id.

        Raises:
            RegistryUnavailableError: A schema is not found, although ``main`` had it.
        """
        del budgeted
        found: dict[int, str | SchemaError] = {}
        for schema_id in ids:
            text = self._main.text_of(schema_id)
            if text is not None:
                found[schema_id] = text
        left = [schema_id for schema_id in ids if schema_id not in found]
        answers = look_up(self._source, left) if left else {}
        for answer in answers.values():
            if isinstance(answer, SchemaError):
                raise RegistryUnavailableError(answer.what, "check the registry")
        return found | answers

    def _prepared(
        self, texts: Mapping[int, str | SchemaError], *, budgeted: bool
    ) -> dict[int, Writer | str | SchemaError]:
        """Prepare all new schemas."""
        budget = self._main.budget
        budget.begin()
        found: dict[int, Writer | str | SchemaError] = {
            schema_id: self._kept(schema_id, text)
            for schema_id, text in texts.items()
            if isinstance(text, str)
        }
        budget.end(owed=budgeted)
        return found
