"""Records that an attacker may write to this project's own topics."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, cases, entry
from bench.hostile_cases.data.decoding import Source, framed, number, raw, text

_NAMES: Final = {
    "rollout": "rollout.v1", "activations": "activation.v1", "summaries": "summary.v2",
    "labels": "label.v1", "terminal-profiles": "terminal-profile.v2",
    "drift-events": "drift-event.v1", "decisions": "decision.v2",
    "shadow-scores": "shadow-score.v1",
}  # fmt: skip


def own_schema(topic: str) -> dict[str, Any]:
    """Return the schema of one of our topics."""
    found = entry("stream_scorer.registry.sources", "reader_schema")(_NAMES[topic])
    document: dict[str, Any] = json.loads(found)
    return document


def codec_of(topic: str, source: Source) -> Any:
    """Return what encodes the records of one of our topics."""
    schema = json.dumps(own_schema(topic))
    identity = source.id_for(f"{topic}-value", schema)
    return entry("stream_scorer.codec.records.record", "RecordCodec")(identity, schema)


def with_field(topic: str, kind: Any) -> str:
    """Return the topic's schema with one more field in front, as an attacker may register it."""
    own = own_schema(topic)
    own["fields"] = [{"name": "hostile", "type": kind}, *own["fields"]]
    return json.dumps(own)


def _read(topic: str, schema: Callable[[], str], content: bytes) -> Callable[[Place], str]:
    """Decode a record of an attacker's schema as the reader of a topic does."""

    def run(_: Place) -> str:
        source = Source(schema())
        record = codec_of(topic, source).decode(framed(content), source)
        return f"decoded {sorted(record)}"

    return run


def _any(schema: str, content: bytes) -> Callable[[Place], str]:
    """Decode a record as commands do that read any schema."""

    def run(_: Place) -> str:
        source = Source(schema)
        decoder = entry("stream_scorer.codec.records.record", "RecordDecoder")(source)
        return f"decoded {sorted(decoder.decode(framed(content)))}"

    return run


def _own(topic: str, change: Callable[[bytes], bytes | None]) -> Callable[[Place], str]:
    """Decode changed bytes with one of our schemas."""

    def run(_: Place) -> str:
        source = Source()
        codec = codec_of(topic, source)
        value = codec.encode(example(topic))
        record = codec.decode(change(value), source)
        return f"decoded {sorted(record)}"

    return run


def example(topic: str) -> dict[str, Any]:
    """Return a record of a topic, each field with the plainest value of its type."""
    schema = own_schema(topic)
    return {each["name"]: _plainest(each["type"]) for each in schema["fields"]}


def _plainest(kind: Any) -> Any:
    if isinstance(kind, list):
        return None if "null" in kind else _plainest(kind[0])
    if isinstance(kind, dict):
        if kind["type"] == "record":
            return {each["name"]: _plainest(each["type"]) for each in kind["fields"]}
        if kind["type"] == "enum":
            return kind["symbols"][0]
        return {"array": [], "map": {}}.get(kind["type"], _plainest_word(kind["type"]))
    return _plainest_word(kind)


def _plainest_word(kind: str) -> Any:
    words = {"string": "a", "bytes": b"a", "boolean": False, "float": 0.5, "double": 0.5}
    return words.get(kind, 1)


def many(items: Any) -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def _nested(topic: str, depth: int) -> str:
    arrays = '{"type":"array","items":' * depth + '"int"' + "}" * depth
    return with_field(topic, "PLACE").replace('"PLACE"', arrays)


NOTHING: Final = {"type": "record", "name": "Nothing", "fields": []}
FOUR_MILLION: Final = number(4_000_000) + number(0) + b"\2a" * 20
_STRANGE: Final = (
    ("4 million records of no byte", lambda t: with_field(t, many(NOTHING)), FOUR_MILLION),
    ("a text of 2^40 bytes", lambda t: with_field(t, "string"), number(2**40)),
    ("a text of negative length", lambda t: with_field(t, "string"), number(-7)),
    ("2^62 numbers", lambda t: with_field(t, many("long")), number(2**62)),
    ("arrays nested 300 deep", lambda t: _nested(t, 300), number(1) * 300),
    (
        "a fixed of size -5",
        lambda t: with_field(t, {"type": "fixed", "name": "F", "size": -5}),
        number(1) * 8,
    ),
    ("a schema of another family", lambda _: _transaction(), b"\2x" * 3),
    ("a schema that is a number", lambda _: '"long"', number(5)),
    ("a schema that is not JSON", lambda _: "{", b""),
)


def _transaction() -> str:
    return str(entry("stream_scorer.registry.sources", "reader_schema")("transaction.v1"))


_REFUSED: Final = "(RecordError|SchemaError): "


def _of_strangers(topic: str, *chosen: int) -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{topic}: {what}", 4, "own-topics", _REFUSED,
            _read(topic, lambda s=schema: s(topic), content),  # type: ignore[misc]
        )
        for what, schema, content in (_STRANGE[n] for n in chosen)
    )  # fmt: skip


_DECODED: Final = (
    *_of_strangers("rollout", *range(len(_STRANGE))),
    *_of_strangers("activations", 0, 1, 6),
    *_of_strangers("summaries", 0, 4, 6),
    *_of_strangers("drift-events", 0, 1, 6),
    *cases(
        "rollout", 4,
        ("a record cut off", "own-topics", _REFUSED, _own("rollout", lambda v: v[:-3])),
        ("bytes after the record", "own-topics", _REFUSED, _own("rollout", lambda v: v + b"\0")),
        ("a record without a value", "own-topics", _REFUSED, _own("rollout", lambda _: None),
         "no value"),
        ("a record of 1.2 MB", "own-limits", _REFUSED,
         _own("rollout", lambda v: v + bytes(1_200_000)), "longer than 1114112 bytes"),
        ("a record of another framing", "own-topics", _REFUSED,
         _own("rollout", lambda v: b"\1" + v[1:]), "no magic byte"),
    ),
    Case(
        "drift-events: a number, as commands read it that read any schema", 4, "own-topics",
        _REFUSED, _any('"long"', number(5)), words="is not a record",
    ),
    Case(
        "activations: a text that is not UTF-8", 4, "own-topics", _REFUSED,
        _own("activations", lambda v: v.replace(text(b"a"), text(b"\xff"))),
    ),
)  # fmt: skip


class _Follower:
    """A topic of one partition in memory, as a follower of it reads."""

    topic = "terminal-profiles"
    partitions = (0,)

    def __init__(self, values: list[bytes | None]) -> None:
        self._values = values
        self.left = 1

    def poll(self, *_: object) -> Any:
        values, self._values, self.left = self._values, [], 0
        return raw(values) if values else None


def _terminal(source: Source, value: Mapping[str, Any]) -> bytes:
    return bytes(codec_of("terminal-profiles", source).encode(value))


def _terminals(hostile: Callable[[Source], bytes | None], schema: str = "") -> Any:
    """Follow the rows of terminals with a hostile record before a good one."""

    def run(_: Place) -> str:
        source = Source(schema)
        found = entry("stream_scorer.terminals.follower", "TerminalReading")
        decoder = entry("stream_scorer.codec.reading.decode", "ColumnDecoder")(
            source,
            json.dumps(own_schema("terminal-profiles")),
            entry("stream_scorer.core.events.plan").Plan(),
        )
        good = example("terminal-profiles") | {"terminal_id": "m-1", "event_time": 5_000}
        reading = found(_Follower([hostile(source), _terminal(source, good)]), decoder)
        reading.step(0.0)
        return f"{len(reading.table)} good row read"

    return run


_READ: Final = "1 good row read"
_TERMINALS: Final = cases(
    "terminal-profiles", 4,
    ("bytes that are nothing", "own-topics", _READ, _terminals(lambda _: b"\xff" * 9)),
    ("no value", "own-topics", _READ, _terminals(lambda _: None)),
    ("an unknown schema id", "own-topics", _READ, _terminals(lambda _: framed(b"\0\0", 123_456))),
    ("a stranger's schema with a negative fixed", "own-topics", _READ, _terminals(
         lambda _: framed(b"\0" * 9),
         json.dumps({"type": "record", "name": "T", "fields": [
             {"name": "f", "type": {"type": "fixed", "name": "F", "size": -(2**45)}}]}),
     )),
)  # fmt: skip


def _labels(hostile: Callable[[Source], bytes | None], schema: str = "") -> Any:
    """Read labels as a rollout's evidence does, with a hostile record before a good one."""

    def run(_: Place) -> str:
        source = Source(schema)
        made = entry("stream_scorer.rollout.controller.columns", "EvidenceColumns")(
            source, entry("stream_scorer.settings").SCHEMAS_DIRECTORY, lambda: None
        )
        good = example("labels") | {"transaction_id": "t-1", "event_time": 5_000}
        value = bytes(codec_of("labels", source).encode(good))
        told, rows, others = made.labels(raw([hostile(source), value]), 0)
        return f"{len(told)} label at row {rows.tolist()}, {others} refused"

    return run


_LABEL: Final = r"1 label at row \[1\], 1 refused"


def _label(source: Source, **changed: Any) -> bytes:
    return bytes(codec_of("labels", source).encode(example("labels") | changed))


_HOLLOW: Final = json.dumps({"type": "record", "name": "Label", "fields": [
    {"name": "h", "type": {"type": "array", "items": "null"}},
    {"name": "transaction_id", "type": "string"}, {"name": "customer_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "is_fraud", "type": "boolean"},
    {"name": "label_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
]})  # fmt: skip
_LABELS: Final = cases(
    "labels", 4,
    ("bytes that are nothing", "own-topics", _LABEL, _labels(lambda _: b"\0" * 30)),
    ("2^30 items of no byte", "own-topics", _LABEL, _labels(
         lambda _: framed(number(2**30) + number(0) + b"\0" * 9),
         _HOLLOW,
     )),
    ("a text of 20 MB", "own-topics", _LABEL,
     _labels(lambda s: _label(s, transaction_id="x" * 20_000_000))),
    ("a schema of another family", "own-topics", _LABEL,
     _labels(lambda _: framed(text(b"a") * 4), json.dumps(
     {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}))),
)  # fmt: skip


_MAPPED: Final = {
    "json": {
        "format": "json", "transaction_id": "id", "customer_id": "card",
        "event_time": {"path": "ts", "unit": "ms"}, "is_fraud": "fraud",
        "label_time": {"path": "told", "unit": "ms"},
    },
    "avro": {
        name: name
        for name in ("transaction_id", "customer_id", "event_time", "is_fraud", "label_time")
    },
}  # fmt: skip
"""A stranger's labels, by the format of the records."""


def _json(**changed: Any) -> bytes:
    good = {"id": "t-1", "card": "c-1", "ts": 5_000, "fraud": True, "told": 6_000}
    return json.dumps(good | changed).encode()


def _mapped(hostile: Callable[[Source], bytes | None], schema: str = "", form: str = "json") -> Any:
    """Read labels by a mapping, with a hostile record before a good one."""

    def run(_: Place) -> str:
        opened = entry("stream_scorer.codec.reading.mapped", "open_label_decoder")
        source = Source(schema)
        plan = entry("stream_scorer.core.events.plan", "plan_from")(
            {"events": {"labels": _MAPPED[form]}}
        )
        good = _json() if form == "json" else _label(source)
        decoded = opened(source, plan).decode([hostile(source), good])
        refused = decoded.rejections
        told = zip(refused.reasons, refused.details, strict=True)
        why = ", ".join(f"{reason.value}: {detail}" for reason, detail in told)
        rows = decoded.rows.tolist()
        return f"{len(rows)} label at row {rows}, {len(refused)} refused: {why}"

    return run


def _wide(types: int) -> str:
    """Return the schema of a label that fastavro decodes, with values of so many types beside."""
    schema = json.loads(_HOLLOW)
    fixed = ({"type": "fixed", "name": f"F{n}", "size": 0} for n in range(1, types))
    schema["fields"][0]["type"]["items"] = ["null", *fixed]
    schema["fields"][1]["type"] = ["string", "long"]
    return json.dumps(schema)


_MAPPED_LABEL: Final = r"1 label at row \[1\], 1 refused: [A-Z_]+: "

_MAPPED_LABELS: Final = cases(
    "mapped-labels", 4,
    ("bytes that are not UTF-8", "labels", _MAPPED_LABEL, _mapped(lambda _: b'{"id": "\xff"}'),
     "not UTF-8 at byte 8"),
    ("objects nested 3,000 deep", "labels", _MAPPED_LABEL,
     _mapped(lambda _: b'{"id":' * 3_000 + b"1" + b"}" * 3_000), "nested deeper than 64"),
    ("a verdict twice", "labels", _MAPPED_LABEL,
     _mapped(lambda _: _json()[:-1] + b', "fraud": false}'), "an object has a key twice"),
    ("a verdict of 2", "labels", _MAPPED_LABEL, _mapped(lambda _: _json(fraud=2)),
     "the table for is_fraud does not have this value"),
    ("a verdict that is an object", "labels", _MAPPED_LABEL, _mapped(lambda _: _json(fraud={})),
     "a value of this kind cannot become is_fraud"),
    ("a time of 10^60", "labels", _MAPPED_LABEL, _mapped(lambda _: _json(told=10**60)),
     "told: more than 64 bits of milliseconds"),
    ("a time of 1,000 digits", "labels", _MAPPED_LABEL, _mapped(lambda _: _json(told=10**999)),
     "a number of more than 64 characters"),
    ("a time that is NaN", "labels", _MAPPED_LABEL,
     _mapped(lambda _: _json(told=float("nan"))), "NaN and Infinity are not JSON"),
    ("an id of 2 MB", "labels", _MAPPED_LABEL, _mapped(lambda _: _json(id="x" * 2_000_000)),
     "longer than record_bytes_max"),
    ("half a surrogate pair in an id", "labels", _MAPPED_LABEL,
     _mapped(lambda _: _json(id="\ud800")), "half a surrogate pair"),
    ("2^30 items of no byte", "labels", _MAPPED_LABEL, _mapped(
         lambda _: framed(number(2**30) + number(0) + b"\0" * 9), _HOLLOW, "avro"
     )),
    ("a union of 129 types beside it", "wide", _MAPPED_LABEL, _mapped(
         lambda _: framed(number(20_000) + number(128) * 20_000 + b"\0" * 9), _wide(129), "avro"
     ), "a union of 129 types, where at most 128 can be decoded"),
    ("a schema without the verdict", "labels", _MAPPED_LABEL, _mapped(
         lambda _: framed(text(b"a") * 4), json.dumps(
             {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}
         ), "avro"
     ), "INCOMPATIBLE_SCHEMA"),
)  # fmt: skip


def _timings(value: Callable[[Source], bytes]) -> Callable[[Place], str]:
    """Read summaries as a rollout's evidence does."""

    def run(_: Place) -> str:
        source = Source(with_field("summaries", many(NOTHING)))
        made = entry("stream_scorer.rollout.controller.columns", "EvidenceColumns")(
            source, entry("stream_scorer.settings").SCHEMAS_DIRECTORY, lambda: None
        )
        good = bytes(codec_of("summaries", source).encode(example("summaries")))
        found, others = made.timings(raw([value(source), good]))
        return f"{len(found)} read, {others} refused"

    return run


def _summary(**window: Any) -> Callable[[Source], bytes]:
    """Return a summary whose only window has other counts."""

    def make(source: Source) -> bytes:
        made = example("summaries")
        counts = {
            "partition": 0, "start": 0, "width_ms": 3_600_000, "count": 10, "review": 0,
            "block": 0, "score_sum": 3.5, "amount_minor_sum": 25, "amount_minor_min": 1,
            "amount_minor_max": 4, "score_bins": [10], "amount_bins": [10],
        }  # fmt: skip
        return bytes(codec_of("summaries", source).encode(made | {"windows": [counts | window]}))

    return make


_NOW: Final = 1_700_000_000_000
_HOUR: Final = 3_600_000


class _NoReferences:
    """A model store without references."""

    def prepare(self, names: Any) -> None:
        """Read none."""


def _watched(windows: int, **changed: Any) -> Callable[[Place], str]:
    """Give a monitor 12 forged summaries of windows that never close, then 12 without windows."""

    def run(_: Place) -> str:
        source = Source()
        watch = entry("stream_scorer.drift.monitor.watch", "DriftWatch")
        budget = entry("stream_scorer.drift.alarms.budget", "AlarmBudget")()
        keeper = entry("stream_scorer.drift.monitor.state_keeping", "StateKeeper")(
            "drift-state", lambda: None, lambda _: None, lambda *_: None, lambda: 0, lambda _: None
        )
        skipped: list[int] = []
        monitor = entry("stream_scorer.drift.monitor.work", "MonitorWork")(
            lambda: watch(budget, range(3), _HOUR, lambda *_: None), _NoReferences(), source, None,
            "drift-events", lambda _: None, lambda *_: None, keeper,
        )  # fmt: skip
        stages = entry("stream_scorer.kafka.loop.work_interface", "Stages")
        codec, forged = codec_of("summaries", source), example("summaries") | changed
        counts = {
            "partition": 0, "width_ms": _HOUR, "count": 1, "review": 0, "block": 0,
            "score_sum": 0.5, "amount_minor_sum": 1, "amount_minor_min": 1, "amount_minor_max": 1,
            "score_bins": [], "amount_bins": [],
        }  # fmt: skip
        for turn in range(24):
            future = _NOW + (1_000 + windows * turn) * _HOUR
            made = [counts | {"start": future + n * _HOUR} for n in range(windows)]
            values = codec.encode(forged | {"windows": made if turn < 12 else []})
            told = monitor.compute(raw([values]), stages()).delta.skipped
            skipped.append(told.records if told else 0)
        return f"{sum(skipped)} skipped, {sum(skipped[12:])} of the last 12"

    return run


_SUMMARIES: Final = cases(
    "summaries", 4,
    ("48,000 windows in the far future", "own-windows", "10 skipped, 0 of the last 12",
     _watched(4_000)),
    ("a name of 1,025 characters", "own-windows", "24 skipped, 12 of the last 12",
     _watched(1, model="m" * 1_025)),
    ("4 million records of no byte, read as evidence", "own-topics", "1 read, 1 refused",
     _timings(lambda _: framed(FOUR_MILLION))),
    ("a summary cut off", "own-topics", "1 read, 1 refused",
     _timings(lambda s: bytes(codec_of("summaries", s).encode(example("summaries")))[:-1])),
    ("counts of a batch", "own-counts", "2 read, 0 refused", _timings(_summary())),
    *(
        (what, "own-counts", "1 read, 1 refused", _timings(_summary(**window)))
        for what, window in (
            ("scores with the sum NaN", {"score_sum": float("nan")}),
            ("scores with an infinite sum", {"score_sum": float("inf")}),
            ("10 amounts with the sum 2^63 - 1", {"amount_minor_sum": 2**63 - 1}),
            ("2^62 decisions", {"count": 2**62}),
            ("bins that do not add up", {"amount_bins": [20, -10]}),
        )
    ),
    ("a record under the transactions' schema", "own-topics", "1 read, 1 refused",
     _timings(lambda s: s.good("x"))),
)  # fmt: skip

CASES: Final = (*_DECODED, *_TERMINALS, *_LABELS, *_MAPPED_LABELS, *_SUMMARIES)
