"""What of a sample fits a mapping, and why the rest does not."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.codec.reading.json_records import JsonRefusal, leaf_at
from stream_scorer.codec.reading.mapped import JsonDecoder, MappedDecoder, skipped_rows
from stream_scorer.codec.reading.mapped_paths import Found, find
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping, FieldRule
from stream_scorer.core.mapping.mapping_table import Path
from stream_scorer.core.normalising.leaves import misfit
from stream_scorer.explaining.draft import Draft, guess
from stream_scorer.explaining.sample import Sample, documents, paths_of
from stream_scorer.registry.definition import parse_definition

_EXAMPLES: Final = 20
_SHOWN: Final = 40
_STRING_MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FieldReport:
    """What a rule finds.

    Attributes:
        key: The key of events.toml.
        source: The path, or the constant, as people read it.
        kind: What the records have there.
        why: Why it does not fit; empty where it fits.
    """

    key: str
    source: str
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a mapping makes of a sample.

    Attributes:
        fields: One for each rule that reads something.
        transactions: How many records became transactions.
        skipped: How many ``where`` does not choose.
        rejected: (reason, detail, how many), most first.
        keyed: How many transactions have the customer's id as their key; None for a file.
    """

    fields: tuple[FieldReport, ...]
    transactions: int
    skipped: int
    rejected: tuple[tuple[str, str, int], ...]
    keyed: int | None


def explain(mapping: EventMapping, sample: Sample, plan: Plan) -> Explanation:
    """Apply a mapping to a sample.

    Raises:
        SchemaError: The sample's schema is not Avro, or over a limit.
    """
    places = _places(mapping, sample)
    fields = tuple(
        _report(rule, places) for rule in mapping.rules if rule.path or rule.constant is not None
    )
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
    if sample.keys:
        customers = decoded.records.column("customer_id").to_pylist()
        keyed = sum(
            sample.keys[row] == customer.encode()
            for row, customer in zip(decoded.rows.tolist(), customers, strict=True)
        )
    return Explanation(
        fields,
        len(decoded.rows),
        len(skipped_rows(len(sample.values), decoded.rows, rejections)),
        tuple((*told, count) for told, count in counted.most_common()),
        keyed,
    )


def draft_of(sample: Sample, currency: str) -> Draft:
    """Guess a mapping for a sample; ``currency`` stands for all records where none is found.

    Raises:
        SchemaError: The sample's schema is not Avro, or over a limit.
    """
    paths = paths_of(sample)
    return guess(sample.format, paths, _values(sample, paths), currency)


def _values(sample: Sample, paths: Mapping[Path, Found]) -> dict[Path, Sequence[Any]]:
    """Return some numbers at each path of JSON records."""
    if sample.format == "avro":
        return {}
    found: dict[Path, Sequence[Any]] = {}
    some = documents(sample.values[:_EXAMPLES])
    for path in paths:
        values = []
        for document in some:
            try:
                leaf = leaf_at(document, path, _STRING_MOST)
            except JsonRefusal:
                continue
            if leaf is not None:
                values.append(leaf[0])
        found[path] = values
    return found


def _places(mapping: EventMapping, sample: Sample) -> dict[Path, Found]:
    if sample.format == "json":
        there = paths_of(sample)
        nowhere = Found(why="no record of the sample has it", missing=True)
        return {path: there.get(path, nowhere) for path in mapping.paths}
    schema_id, text = next(iter(sample.schemas.items()))
    definition = parse_definition(text, f"schema id {schema_id}")
    return {path: find(definition, path) for path in mapping.paths}


def _report(rule: FieldRule, places: Mapping[Path, Found]) -> FieldReport:
    if rule.path is None:
        return FieldReport(rule.key, f"constant {json.dumps(rule.constant)[:_SHOWN]}", "", "")
    place = places[rule.path]
    kind = " or ".join(dict.fromkeys(wire.kind for wire in place.wires))
    kind = f"{kind}, null" if place.nullable and kind else kind
    if place.why:
        why = "" if place.missing and rule.optional else place.why
        return FieldReport(rule.key, rule.place, "not there", why)
    misfits = [misfit(rule, wire) for wire in place.wires]
    why = misfits[0] if misfits and all(misfits) else ""
    return FieldReport(rule.key, rule.place, kind, why)
