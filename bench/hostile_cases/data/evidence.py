"""Records that an attacker may write to the decisions and shadow scores that a controller reads."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, cases, entry
from bench.hostile_cases.data.decoding import Source, framed, raw
from bench.hostile_cases.data.topics import (
    FOUR_MILLION,
    NOTHING,
    codec_of,
    example,
    many,
    own_schema,
    with_field,
)

Hostile = Callable[[str, Source], list[bytes | None]]
"""Returns the values of an attacker's records of a topic."""

_GOOD: Final = 5_000
"""Good records after the hostile ones: what each row takes shows."""
_AMOUNT: Final = {"kind": "passthrough", "field": "amount"}


def _read(topic: str, hostile: Hostile, schema: Callable[[str], str] = lambda _: "") -> Any:
    """Read a topic as a rollout's evidence does, with hostile records before good ones."""

    def run(_: Place) -> str:
        made = entry("stream_scorer.rollout.controller.columns", "EvidenceColumns")
        source = Source(schema(topic))
        listed = []

        def manifest_of(label: str) -> Any:
            if label != "a:a":
                raise entry("stream_scorer.errors", "ModelError")(f"model {label}: is not there")
            return SimpleNamespace(features=[_AMOUNT])

        def manifests() -> Any:
            listed.append(1)
            return manifest_of

        columns = made(source, entry("stream_scorer.settings").SCHEMAS_DIRECTORY, manifests)
        records = raw([*hostile(topic, source), *[_changed(topic, source)] * _GOOD])
        if topic == "decisions":
            told, _, others = columns.decisions(records, lambda _: {}, 100)
        else:
            told, _, others = columns.shadows(records, lambda _: {})
        return f"{len(told)} read, {others} refused, {len(listed)} listed"

    return run


def _changed(topic: str, source: Source, **changed: Any) -> bytes:
    """Return a good record with other values in some fields."""
    plain = example(topic) | ({"features": bytes(8)} if topic == "decisions" else {})
    return bytes(codec_of(topic, source).encode(plain | changed))


def _one(**changed: Any) -> Hostile:
    """Return one record with other values in some fields."""
    return lambda topic, source: [_changed(topic, source, **changed)]


def _of_another(topic: str) -> str:
    return json.dumps(own_schema(topic) | {"namespace": "another"})


def _renamed(topic: str, source: Source) -> list[bytes | None]:
    return [framed(_changed(topic, source)[5:])]


_REFUSED: Final = f"{_GOOD} read, 1 refused"


def _of_both(topic: str) -> tuple[Case, ...]:
    """Return the cases that both topics have."""
    return cases(
        topic, 4,
        ("an arm of 1 MB before 5,000 rows", "own-names", _REFUSED,
         _read(topic, _one(arm="x" * 1_000_000))),
        ("an arm of 1,025 bytes", "own-names", _REFUSED, _read(topic, _one(arm="x" * 1_025))),
        ("a record of 1.2 MB", "own-limits", _REFUSED,
         _read(topic, _one(transaction_id="x" * 1_200_000))),
        ("4 million records of no byte", "own-topics", _REFUSED,
         _read(topic, lambda _, __: [framed(FOUR_MILLION)],
               lambda t: with_field(t, many(NOTHING)))),
        ("a schema of another family", "own-topics", _REFUSED,
         _read(topic, _renamed, _of_another)),
    )  # fmt: skip


CASES: Final = (
    *_of_both("decisions"),
    *cases(
        "decisions", 4,
        ("a model of 1 MB", "own-names", _REFUSED,
         _read("decisions", _one(model="x" * 1_000_000))),
        ("500 models that are not in the store", "listed", f"{_GOOD} read, 500 refused, 1 listed",
         _read("decisions", lambda t, s: [_changed(t, s, model=f"m{n}") for n in range(500)])),
    ),
    *_of_both("shadow-scores"),
    *cases(
        "shadow-scores", 4,
        ("a currency of 1 MB", "own-names", _REFUSED,
         _read("shadow-scores", _one(currency="x" * 1_000_000))),
    ),
)  # fmt: skip
