"""Records of megabytes that take a few hundred bytes on the wire, compressed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from bench.hostile_cases.case import Place, cases, entry
from bench.hostile_cases.data.decoding import Source, body, framed, raw, schema_with

_MOST: Final = 1_048_588
"""A topic's default maximum."""
_LARGE: Final = 2_000_000
_TRACE: Final = "traceparent"


def _keyed(value: bytes | None, key: bytes, headers: Any = None) -> Any:
    ports = entry("stream_scorer.ports")
    return replace(raw([value]), keys=ports.BytesColumn.of([key]), headers=headers and [headers])


def _only(sent: Any) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
    """Return value, key and headers of the only record; an older tree has no columns."""
    if isinstance(sent, list):
        return sent[0].value, sent[0].key, sent[0].headers
    return sent.values[0], sent.keys[0], sent.headers[0]


def _letter(value: bytes, key: bytes = b"k", headers: Any = None) -> Callable[[Place], str]:
    """Write the dead letter of one record; return its omitted parts, and whether it fits."""

    def run(_: Place) -> str:
        form = entry("stream_scorer.dead_letters.format")
        reason = entry("stream_scorer.core.events.batch", "RejectReason").TOO_LARGE
        sent = form.dead_letters(
            _keyed(value, key, headers), [0], [reason], ["d" * 600],
            topic="t.dlq", source_topic="t", instance="0",
        )  # fmt: skip
        left, left_key, left_headers = _only(sent)
        named = dict(left_headers).get("dlq.omitted")
        size = len(left or b"") + len(left_key or b"")
        size += sum(len(name) + len(text or b"") + 10 for name, text in left_headers)
        fits = "fits" if size + 1_000 < _MOST else f"has {size} bytes"
        return f"{fits}, leaves out: {(named or b'nothing').decode()}"

    return run


def _decided(value: Callable[[], bytes], key: bytes, **plan: int) -> Callable[[Place], str]:
    """Decode a valid transaction with a key."""

    def run(_: Place) -> str:
        made = entry("stream_scorer.core.events.plan", "Plan")(**plan)
        source = Source(schema_with())
        decoder = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")(source, made)
        _, rows, rejections = decoder.decode(_keyed(value(), key))
        if len(rows):
            return f"decided with a key of {len(key)} bytes"
        return f"{rejections.reasons[0]}: {rejections.details[0]}"

    return run


def _traced(*headers: tuple[str, bytes]) -> Callable[[Place], str]:
    """Return how many bytes of trace headers a decision copies, and whether one is there."""

    def run(_: Place) -> str:
        import numpy as np  # noqa: PLC0415 as the product

        copy = entry("stream_scorer.scoring.outputs", "_headers")
        (kept,) = copy([list(headers)], np.array([0])) or [None]
        size = sum(len(name) + len(value) for name, value in kept or ())
        there = "with" if _TRACE in dict(kept or ()) else "without"
        return f"{'at most' if size <= 8_192 else 'more than'} 8 KiB, {there} {_TRACE}"

    return run


_ID: Final = (_TRACE, b"00-1")
CASES: Final = cases(
    "large", 1,
    ("a value of 8 MB", "omitted", "fits, leaves out: value 8000000$", _letter(bytes(8_000_000))),
    ("headers of 2 MB", "omitted", "fits, leaves out: value 1, headers 1$",
     _letter(b"v", headers=[("h", bytes(_LARGE))])),
    ("100,000 headers without a value", "omitted", "fits, leaves out: value 1, headers 100000$",
     _letter(b"v", headers=[("h", None)] * 100_000)),
    ("a dead letter's key of 2 MB", "omitted", "fits, leaves out: value 1, key 2000000$",
     _letter(b"v", bytes(_LARGE))),
    ("a transaction with a key of 2 MB", "long-key", "TOO_LARGE: ",
     _decided(lambda: Source().good("t"), bytes(_LARGE)), "the key is longer"),
    ("a key of 2 MB where the plan allows it", "long-key", "TOO_LARGE: ",
     _decided(lambda: Source().good("t"), bytes(_LARGE), record_bytes_max=1 << 30), "together"),
    ("an id of 2 MB where the plan allows it", "long-key", "TOO_LARGE: ",
     _decided(lambda: framed(body(b"x" * _LARGE)), b"k", record_bytes_max=1 << 30,
              string_bytes_max=1 << 30), "together"),
    ("a trace header of 2 MB", "trace", f"at most 8 KiB, with {_TRACE}",
     _traced(("baggage", bytes(_LARGE)), _ID)),
    ("1,000 trace headers", "trace", f"at most 8 KiB, with {_TRACE}",
     _traced(_ID, *[("b3", bytes(100))] * 1_000)),
)  # fmt: skip
