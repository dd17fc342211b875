"""Hostile schemas, records, buckets and models, made from valid ones, at random from a seed.

Each case calls the same functions as production does. A case may be refused with the errors that
these functions document. A finding of the checks, or any other error, ends the run.
"""

import json
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.rings.rings import CustomerRings, Retention
from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.convert import predictor_for
from stream_scorer.models.predictors.parts import Part, ScoringModel
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import TreeColumns, assemble
from stream_scorer.state.checkpoints.ring_columns import columns_of
from tests.bounds import windows
from tests.support.core.ring_oracle import Event, counts_and_sums, fold
from tests.unit.codec.reading.test_random_schemas import (
    Reference,
    Source,
    pair,
    plain,
    spoilt,
    value,
)

PLAN = Plan(string_bytes_max=40, array_items_max=6)
HOSTILE = (
    -1, -8, -9, -(2**31), -(2**45), -(2**62), -(2**63), 0, 1, 7, 63, 64, 65, 127, 128, 4096, 2**15,
    2**16, 2**28, 2**31 - 1, 2**31, 2**45, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
LIST = {
    "type": "record", "name": "Node",
    "fields": [{"name": "inner", "type": {"type": "array", "items": "Node"}}],
}  # fmt: skip
"""A recursive type, which is as deep as a record makes it."""


def varint(number: int) -> bytes:
    """Return a 64-bit number as a varint; a negative one as its two's complement."""
    left, out = number % 2**64, bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def hostile(chance: random.Random, body: bytes) -> bytes:
    """Replace a few numbers by extreme ones, or damage the bytes in another way."""
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.4:
            body = spoilt(chance, body)
            continue
        at = chance.randrange(len(body) + 1)
        number = varint(chance.choice(HOSTILE))
        body = body[:at] + number + body[at + chance.choice((0, 1, len(number))) :]
    return body


# -- records --------------------------------------------------------------------------------------


def _decoded(decoder: ColumnDecoder, payloads: list[bytes], row: int) -> Any:
    """Return the result of one row of a batch: its record, or the reason of its rejection."""
    found = decoder.decode(payloads)
    found.records.validate(full=True)
    rows = found.rows.tolist()
    if row in rows:
        return repr(plain(found.records)[rows.index(row)])
    return found.rejections.reasons[found.rejections.rows.tolist().index(row)]


def record(chance: random.Random) -> None:
    """Decode valid and damaged records; each has the same result alone and between two others."""
    both = pair(chance)
    reference = Reference.of(both)
    if chance.random() < 0.2:
        both.writer.append({"name": "deep", "type": LIST})
    bodies = []
    for _ in range(12):
        known = [field for field in both.writer if field["name"] != "deep"]
        body = reference.write({f["name"]: value(chance, f["type"]) for f in known})
        if len(known) < len(both.writer):
            depth = chance.choice((0, 1, 5, 62, 63, 64, 65, 70, 200))
            body += b"\x02" * depth + b"\0" * (depth + 1)
        bodies.append(hostile(chance, body) if chance.random() < 0.7 else body)
    payloads = [b"\0\0\0\0\1" + body for body in bodies]
    decoder = ColumnDecoder(Source(both.text(both.writer)), both.text(both.reader), PLAN)
    decoder.decode(payloads)
    for _ in range(3):
        before, one, behind = chance.sample(payloads, 3)
        alone, between = _decoded(decoder, [one], 0), _decoded(decoder, [before, one, behind], 1)
        if alone != between:
            raise AssertionError(f"{one!r} alone is {alone}, and between others {between}")


def schema(chance: random.Random) -> None:
    """Decode records of a hostile schema."""
    both = pair(chance)
    reference = Reference.of(both)
    bodies = [
        reference.write({f["name"]: value(chance, f["type"]) for f in both.writer})
        for _ in range(4)
    ]
    for _ in range(chance.randint(1, 2)):
        size = chance.choice(HOSTILE)
        name = f"F{chance.randrange(10**6)}"
        fixed = {"type": "fixed", "name": name, "size": size}
        more = chance.choice((fixed, ["null", fixed], {"type": "array", "items": fixed}))
        both.writer.insert(chance.randrange(len(both.writer) + 1), {"name": name, "type": more})
    text = both.text(both.writer)
    if chance.random() < 0.3:
        document = json.loads(text)
        field = chance.choice(document["fields"])
        field["type"] = chance.choice((5, None, [], {}, ["null"] * 3, {"type": "enum"}, "string"))
        text = json.dumps(document)
    payloads = [b"\0\0\0\0\1" + (body if chance.random() < 0.5 else hostile(chance, body))
                for body in bodies]  # fmt: skip
    ColumnDecoder(Source(text), both.text(both.reader), PLAN).decode(payloads)


# -- buckets --------------------------------------------------------------------------------------


def bucket(chance: random.Random) -> None:
    """Load a bucket with a valid checksum, and continue with its rings."""
    fields = tuple(f"f{number}" for number in range(chance.choice((0, 0, 1, 3))))
    retention = Retention(lateness_ms=30, horizon_ms=chance.choice((90, 2**33)), cap=6)
    rings = CustomerRings(retention, counts_and_sums([25]), ())
    events = [
        Event(chance.choice("abcdefgh") * chance.choice((1, 9)), str(n), n * 7 % 200, n)
        for n in range(chance.randint(1, 25))
    ]
    rings.release(fold(rings, events)[0])
    number = chance.choice([n for n in range(1024) if rings.dump(n)])
    body = rings.dump(number)[:-4]
    if fields:
        body = body[:1] + bytes([len(fields)]) + b"".join(
            bytes([len(name)]) + name.encode() for name in fields
        ) + body[2:]  # fmt: skip
    body = hostile(chance, body) if chance.random() < 0.9 else body
    payload = body + zlib.crc32(body).to_bytes(4, "little")
    other = CustomerRings(retention, counts_and_sums([25]), fields[: chance.randint(0, 1)])
    try:
        columns_of(payload)
        other.load(payload)
    except ValueError:
        return
    if not fields:
        other.undo(fold(other, events)[0])
    for n in range(1024):
        other.dump(n)


# -- models ---------------------------------------------------------------------------------------

ROWS = np.random.default_rng(1).normal(0, 1, (60, 3))
LABELS = (ROWS[:, 0] > 0).astype(np.int64)
LINEAR = LogisticRegression().fit(ROWS, LABELS)
SCALER = StandardScaler().fit(ROWS)


def trees(chance: random.Random) -> None:
    """Score with trees that have hostile numbers."""
    nodes = []
    for _ in range(chance.randint(1, 3)):
        inner = chance.randint(0, 40)
        order = list(range(inner))
        features = [chance.randrange(3) for _ in range(inner)]
        tree: Any = {
            "feature": np.array(features + [-1] * (inner + 1), np.int64),
            "threshold": np.array([chance.gauss(0, 1) for _ in range(2 * inner + 1)]),
            "left": np.array([2 * n + 1 for n in order] + [-1] * (inner + 1), np.int64),
            "right": np.array([2 * n + 2 for n in order] + [-1] * (inner + 1), np.int64),
            "missing_left": np.zeros(2 * inner + 1, np.bool_),
            "value": np.ones(2 * inner + 1),
            "cover": np.ones(2 * inner + 1),
        }
        if inner and chance.random() < 0.7:
            numbers = [n for n in HOSTILE if -(2**63) <= n < 2**63]
            name = chance.choice(("left", "right", "feature"))
            tree[name][chance.randrange(inner)] = chance.choice(numbers)
        nodes.append(TreeColumns.with_thresholds(**tree))
    try:
        trees = assemble(nodes, baseline=0.0, feature_count=3)
        predictor = ScoringPredictor(ScoringModel((Part((), trees),), 3))
    except ModelError:
        return
    predictor.scores(ROWS[: chance.randint(1, 20)])
    predictor.attributions(ROWS[:3])


def linear(chance: random.Random) -> None:
    """Score with a linear model whose arrays do not match."""
    model, scaler = LogisticRegression(), StandardScaler()
    vars(model).update(vars(LINEAR))
    vars(scaler).update(vars(SCALER))
    owner, name = chance.choice(
        ((model, "coef_"), (model, "intercept_"), (scaler, "mean_"), (scaler, "scale_"))
    )
    if chance.random() < 0.8:
        found = getattr(owner, name)
        setattr(owner, name, np.ones((*found.shape[:-1], chance.randint(0, 4))))
    if chance.random() < 0.3:
        model.n_features_in_ = chance.choice((0, 1, 2, 4, 2**15, 2**40))
    try:
        predictor = predictor_for(Pipeline([("scale", scaler), ("fit", model)]))
        predictor.scores(np.zeros((4, predictor.feature_count)))
    except (ModelError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, IndexError) and windows.findings():
            raise


KINDS: tuple[tuple[Callable[[random.Random], None], int], ...] = (
    (record, 4), (schema, 3), (bucket, 4), (trees, 2), (linear, 1),
)  # fmt: skip


def run(seconds: float, seed: int) -> Counter[str]:
    """Try cases until the time is over.

    Args:
        seconds: How long.
        seed: Seed of the first case; each next case has the next seed.

    Returns:
        The number of cases of each kind.

    Raises:
        AssertionError: A finding; the message names the case.
    """
    windows.forget()
    kinds = [kind for kind, share in KINDS for _ in range(share)]
    counts: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while counts.total() <= len(kinds) or time.monotonic() < until:
        if counts.total() == len(kinds):
            # The first case of each kind also compiles kernels.
            until = time.monotonic() + seconds
        number = seed * 1_000_000_007 + counts.total()
        kind = kinds[counts.total() % len(kinds)]
        counts[kind.__name__] += 1
        try:
            kind(random.Random(number))  # noqa: S311 a test's choice, no secret
        except Exception as error:
            what = windows.first_finding() if windows.findings() else "an error that escaped"
            raise AssertionError(f"case {number} ({kind.__name__}): {what}: {error!r}") from error
        if windows.findings():
            raise AssertionError(f"case {number} ({kind.__name__}): {windows.first_finding()}")
    return counts
