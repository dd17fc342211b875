"""Reports which records of a sample fit a mapping, and why the others do not."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from stream_scorer.codec.reading.json_records import JsonRefusal, leaf_at
from stream_scorer.codec.reading.mapped import JsonDecoder, MappedDecoder, skipped_rows
from stream_scorer.codec.reading.mapped_paths import Found, find
from stream_scorer.codec.records.record_key import KeyReader
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping, FieldRule, mapping_in, mapping_of
from stream_scorer.core.mapping.mapping_table import Path
from stream_scorer.core.normalising.leaves import misfit
from stream_scorer.explaining.draft import Draft, guess
from stream_scorer.explaining.sample import EXAMPLES, RecordSample, documents, found_at, paths_of
from stream_scorer.explaining.table_sample import TableSample
from stream_scorer.registry.definition import parse_definition

_SHOWN: Final = 40
_STRING_MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FieldReport:
    """The report on a rule.

    Attributes:
        key: The key of events.toml.
        source: The path, or the constant, for people.
        kind: The types of the records' values there.
        why: Why it does not fit; empty if it fits.
    """

    key: str
    source: str
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class MappingReport:
    """The report on a mapping and a sample.

    Attributes:
        fields: One for each rule that reads something.
        records: How many records there are.
        transactions: How many records became transactions, or labels.
        skipped: How many are skipped by ``where``.
        rejected: (reason, detail, how many), most first.
        keyed: How many transactions have a key that gives the customer's id; None for a file and
            for labels.
    """

    fields: tuple[FieldReport, ...]
    records: int
    transactions: int
    skipped: int
    rejected: tuple[tuple[str, str, int], ...]
    keyed: int | None


def with_mapping(plan: Plan, table: dict[str, Any]) -> Plan:
    """Return a plan whose records have this mapping.

    Args:
        plan: Gives currencies and limits.
        table: Table of events.toml.

    Raises:
        ValueError: The mapping is not valid, or does not fit the currencies; names the key.
    """
    return replace(plan, events=table, extras=mapping_of(table).extra_types)


def explain(
    plan: Plan, sample: RecordSample | TableSample, labels: EventMapping | None = None
) -> MappingReport:
    """Apply a plan's mapping to a sample.

    Args:
        plan: From :func:`with_mapping`.
        sample: Records of a topic or a file.
        labels: The plan's mapping of labels, if the sample has labels.

    Raises:
        SchemaError: The sample's schema is not Avro, or over a limit.
        SettingsError: No row of the file can become a transaction; names the path.
    """
    mapping = labels or mapping_in(plan.events)
    places = _places(mapping, sample)
    fields = tuple(
        _report(rule, places, sample.format)
        for rule in mapping.rules
        if rule.path or rule.constant is not None
    )
    if isinstance(sample, TableSample):
        return _of_table(plan, sample, fields, mapping)
    decoder: MappedDecoder | JsonDecoder
    if mapping.format == "json":
        decoder = JsonDecoder(mapping, plan)
    else:
        decoder = MappedDecoder(mapping, sample, plan)
    decoded = decoder.decode(sample.values)
    rejections = decoded.rejections
    counted = Counter(
        zip((str(reason) for reason in rejections.reasons), rejections.details, strict=True)
    )
    keyed = None
    # The key of a label is not used.
    if sample.keys and labels is None:
        customers = decoded.records.column("customer_id").to_pylist()
        named = KeyReader(sample)(sample.keys, plan)
        keyed = sum(
            named[row] == customer
            for row, customer in zip(decoded.rows.tolist(), customers, strict=True)
        )
    return MappingReport(
        fields,
        len(sample.values),
        len(decoded.rows),
        len(skipped_rows(len(sample.values), decoded.rows, rejections)),
        _most_first(counted),
        keyed,
    )


def _of_table(
    plan: Plan, sample: TableSample, fields: tuple[FieldReport, ...], mapping: EventMapping
) -> MappingReport:
    if any(field.why for field in fields):
        return MappingReport(fields, sample.rows, 0, 0, (), None)
    read = sample.read(plan, mapping)
    return MappingReport(
        fields, sample.rows, read.transactions, read.skipped, _most_first(read.rejected), None
    )


def _most_first(counted: Counter[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    return tuple((*told, count) for told, count in counted.most_common())


def draft_of(sample: RecordSample | TableSample, plan: Plan, *, stub: bool = False) -> Draft:
    """Guess a mapping for a sample.

    Args:
        sample: Records of a topic or a file.
        plan: Its currency is that of all records, if none is found; the draft keeps its rates.
        stub: Whether its rates are those of ``stub_of_rates``.

    Raises:
        SchemaError: The sample's schema is not Avro, or over a limit.
    """
    rates = plan.events.get("rates")
    if isinstance(sample, TableSample):
        paths = sample.guesses()
        # A file can be read with either format; JSON is what ``produce`` makes of its rows.
        return guess("json", paths, sample.examples(list(paths)), plan.currency, rates, stub=stub)
    paths = paths_of(sample)
    return guess(sample.format, paths, _values(sample, paths), plan.currency, rates, stub=stub)


def _values(sample: RecordSample, paths: Mapping[Path, Found]) -> Mapping[Path, Sequence[Any]]:
    """Return some values at each path of JSON records."""
    if sample.format == "avro":
        return {}
    found: dict[Path, list[Any]] = {path: [] for path in paths}
    for document in documents(sample.values[:EXAMPLES]):
        for path, values in found.items():
            try:
                leaf = leaf_at(document, path, _STRING_MOST)
            except JsonRefusal:
                continue
            if leaf is not None:
                values.append(leaf[0])
    return found


def _places(mapping: EventMapping, sample: RecordSample | TableSample) -> dict[Path, Found]:
    if isinstance(sample, TableSample):
        return sample.places(mapping.paths)
    if sample.format == "json":
        there = found_at(sample, mapping.paths)
        nowhere = Found(why="no record of the sample has it", missing=True)
        return {path: there.get(path, nowhere) for path in mapping.paths}
    schema_id, text = next(iter(sample.schemas.items()))
    definition = parse_definition(text, f"schema id {schema_id}")
    return {path: find(definition, path) for path in mapping.paths}


def _report(rule: FieldRule, places: Mapping[Path, Found], format_: str) -> FieldReport:
    if rule.path is None:
        return FieldReport(rule.key, f"constant {json.dumps(rule.constant)[:_SHOWN]}", "", "")
    place = places[rule.path]
    kind = " or ".join(dict.fromkeys(wire.kind for wire in place.wires))
    kind = f"{kind}, null" if place.nullable and kind else kind
    if place.why:
        # In JSON, what is not there is null.
        null = format_ == "json" and (rule.nullable or rule.default is not None)
        why = "" if place.missing and (rule.optional or null) else place.why
        return FieldReport(rule.key, rule.place, "not there", why)
    misfits = [misfit(rule, wire) for wire in place.wires]
    why = misfits[0] if misfits and all(misfits) else ""
    return FieldReport(rule.key, rule.place, kind, why)
