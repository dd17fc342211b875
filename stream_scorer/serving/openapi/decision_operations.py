"""``/v1``: its operations, from the schema of the user's own record and from that of decisions."""

from collections.abc import Mapping
from pathlib import Path as Directory
from typing import Any, Final

from stream_scorer.codec.records.decisions import ANSWERED
from stream_scorer.core.events.batch import Outcome
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema
from stream_scorer.serving.decisions.answers import PATH
from stream_scorer.serving.decisions.records import BATCH, BATCH_MOST, RecordForm
from stream_scorer.serving.openapi.operation import (
    ApiOperation,
    Described,
    DocumentedAnswer,
    JsonSchema,
    schema_ref,
)
from stream_scorer.serving.openapi.record_schema import RecordSchemas
from stream_scorer.serving.web.messages import JSON

_TAG: Final = "decisions"
_TIMES: Final = ("event_time", "decided_at", "terminal_watermark")
_PENDING: Final = ("location", "retry-after")
_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"}
_MAYBE_NUMBER: Final = {"type": ["number", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_RECORD: Final = schema_ref("Record")
_EACH: Final = "The answer for each record of a batch, as if it had come alone."


def decision_operations(form: RecordForm, directory: Directory) -> Described:
    """Return the operations of ``/v1``.

    Args:
        form: What the records of requests must be.
        directory: The folder of this project's schemas.
    """
    batch = {"type": "array", "items": _RECORD, "minItems": 1, "maxItems": BATCH_MOST}
    batch_object = {
        "type": "object", "properties": {BATCH: batch}, "required": [BATCH],
        "additionalProperties": False,
    }  # fmt: skip
    ask = ApiOperation(
        f"POST {PATH}", "decide", "Decide a transaction, or a batch of them",
        {
            200: DocumentedAnswer(
                "The published decision, or those of a batch.",
                _either("Decision", "DecisionAnswers"),
            ),
            202: DocumentedAnswer(
                "It is being decided; fetch `location`.", {JSON: schema_ref("Pending")}, _PENDING
            ),
            207: DocumentedAnswer(
                "A batch whose transactions do not all have a decision.",
                {JSON: schema_ref("DecisionAnswers")},
            ),
        },
        _TAG,
        "A repeat with the same customer, id and body gets the first decision.",
        body={JSON: {"anyOf": [_RECORD, batch, batch_object]}},
        problems=("invalid-json", "another-body", "already-decided", "rejected", "unavailable"),
    )  # fmt: skip
    fetch = ApiOperation(
        f"GET {PATH}/{{id}}", "fetchDecision", "Fetch the decision of a transaction",
        {
            200: DocumentedAnswer("The published decision.", {JSON: schema_ref("Decision")}),
            202: DocumentedAnswer("It is being decided.", {JSON: schema_ref("Pending")}, _PENDING),
        },
        _TAG,
        "For the client that sent the transaction, and for clients with the scope `read`.",
        parameters={"id": {**_ID, "description": "`id` of an answer"}},
        query={
            "at": {
                "type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,18}$",
                "description": "the record's place, as in `location`; by it, another gateway finds "
                "a transaction that is pending",
            }
        },
        problems=("decision-not-found", "unavailable"),
    )  # fmt: skip
    schemas = {**_record(form), **_decision(directory), **_answers()}
    return Described((ask, fetch), schemas, {_TAG: "Decisions in the call, with state."})


def _either(*names: str) -> dict[str, JsonSchema]:
    return {JSON: {"anyOf": [schema_ref(name) for name in names]}}


def _record(form: RecordForm) -> dict[str, JsonSchema]:
    if form.definition is None:
        text = "a record as your producers write it; `events.toml` maps it"
        return {"Record": {"type": "object", "description": text}}
    made = RecordSchemas(form.definition, "record.", form.limits)
    return {"Record": made.root, **made.named}


def _decision(directory: Directory) -> dict[str, JsonSchema]:
    """Return the schema of a decision, and of the types in it."""
    definition = parse_definition(reader_schema(ANSWERED, directory), ANSWERED)
    made = RecordSchemas(definition, "decision.")
    (name,) = made.root.values()
    own = name.rpartition("/")[2]
    decision = dict(made.named.pop(own))
    properties: dict[str, Any] = {"id": {**_ID, "description": "Of the transaction."}}
    properties |= decision["properties"]
    properties["features"] = {
        "type": "array", "items": _MAYBE_NUMBER,
        "description": "In the order of the model's manifest; null where it has no finite value.",
    }  # fmt: skip
    for each in (*_TIMES, "score"):
        kind = _TIME if each in _TIMES else _MAYBE_NUMBER
        # A time that no calendar has is null.
        plain = {"anyOf": [kind, {"type": "null"}]} if each in _TIMES else kind
        properties[each] = _described(properties[each], plain)
    for text, schema in made.named.items():
        if text.endswith("Explanation"):
            value = _described(schema["properties"]["value"], _MAYBE_NUMBER)
            made.named[text] = {**schema, "properties": {**schema["properties"], "value": value}}
    decision |= {"properties": properties, "required": ["id", *decision["required"]]}
    return {"Decision": decision, **made.named}


def _described(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {**new, **({"description": old["description"]} if "description" in old else {})}


def _answers() -> dict[str, JsonSchema]:
    pending = _object(
        id=_ID, provisional_outcome={"enum": [each.name for each in Outcome]},
        location={"type": "string"},
    )  # fmt: skip
    problem = _object(
        type={"type": "string"}, title={"type": "string"}, status={"type": "integer"},
        detail={"type": "string"},
    ) | {"additionalProperties": True}  # fmt: skip
    status = {"type": "integer", "minimum": 400, "maximum": 599}
    each = {
        "anyOf": [
            _object(status={"const": 200}, decision=schema_ref("Decision")),
            _object(status={"const": 202}, pending=schema_ref("Pending")),
            _object(status=status, problem=problem),
        ],
        "description": _EACH,
    }
    answers = {"type": "array", "items": each, "minItems": 1, "maxItems": BATCH_MOST}
    return {"Pending": pending, "DecisionAnswers": _object(answers=answers)}


def _object(**members: JsonSchema) -> dict[str, Any]:
    return {
        "type": "object", "properties": members, "required": list(members),
        "additionalProperties": False,
    }  # fmt: skip
