"""Which of a batch's records claim a device's decision, and which of these are accepted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.batch import NO_OUTCOME, Flag, Outcome
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.edge.claims.chain import chained, is_signed
from stream_scorer.edge.claims.contract import NO_CHAIN, EdgeRow
from stream_scorer.edge.claims.headers import claimed, headers_of
from stream_scorer.edge.claims.verify import DeviceKey, EdgeClaims, verified
from stream_scorer.ports import EDGE_HEADERS, EDGE_SEQUENCE
from tests.support.core.events import batch, event
from tests.support.edge.devices import (
    LABEL,
    RELEASE,
    Allowed,
    MadeDevice,
    decision_of,
    records_of,
)


def judged(
    device: MadeDevice, rows: list[EdgeRow], allowed: Allowed | None = None
) -> tuple[EdgeClaims, dict[int, str]]:
    allowed = allowed or Allowed({device.name: device.allowed()})
    found, malformed = claimed(records_of([(device.name, row) for row in rows]))
    claims, refused = verified(found, allowed)
    return claims, {**malformed, **refused}


def test_a_chain_covers_each_row_and_all_before_it() -> None:
    device = MadeDevice()
    rows = device.rows(3)
    chain = NO_CHAIN
    for row in rows:
        assert row.previous == chain
        assert is_signed(row, device.name, device.key.public_key())
        chain = chained(chain, device.name, row)
    assert chain == device.chain
    other = replace(rows[0], value=b"other")
    assert chained(NO_CHAIN, device.name, other) != rows[1].previous


@pytest.mark.parametrize(
    "change",
    [
        lambda row: replace(row, sequence=row.sequence + 1),
        lambda row: replace(row, key=row.key + b"x"),
        lambda row: replace(row, value=row.value[:-1] + b"x"),
        lambda row: replace(row, previous=bytes([row.previous[0] ^ 1]) + row.previous[1:]),
        lambda row: replace(row, signature=row.signature[:-1] + bytes([row.signature[-1] ^ 1])),
        lambda row: replace(row, decision=row.decision[:-1] + bytes([row.decision[-1] ^ 2])),
        # What belongs to one field cannot move to its neighbour.
        lambda row: replace(row, key=row.key[:-1], previous=row.previous),
    ],
)
def test_an_altered_row_has_no_valid_signature(change: Callable[[EdgeRow], EdgeRow]) -> None:
    device = MadeDevice()
    good, bad = device.rows(2)
    claims, refused = judged(device, [good, change(bad)])
    assert claims.given.row.tolist() == [0]
    assert refused == {1: "signature"}


def test_a_row_of_another_device_is_refused() -> None:
    mine, other = MadeDevice("a"), MadeDevice("b")
    row = other.rows(1)[0]
    allowed = Allowed({"a": mine.allowed(), "b": other.allowed()})
    found, _ = claimed(records_of([("a", row), ("b", row)]))
    claims, refused = verified(found, allowed)
    assert refused == {0: "signature"}
    assert claims.devices == ("b",)


def test_everything_is_refused_that_no_operator_allowed() -> None:
    device = MadeDevice()
    rows = device.rows(3)
    _, refused = judged(device, rows, Allowed())
    assert refused == dict.fromkeys(range(3), "unknown_device")
    revoked = Allowed({device.name: device.allowed(revoked_after=2)})
    claims, refused = judged(device, rows, revoked)
    assert (claims.given.row.tolist(), refused) == ([0, 1], {2: "revoked"})
    for release in (
        {}, {LABEL: replace(RELEASE, engine=2)}, {LABEL: replace(RELEASE, features=4)},
        {LABEL: replace(RELEASE, content_hash=bytes(32))},
    ):  # fmt: skip
        allowed = Allowed({device.name: device.allowed()}, release)
        assert set(judged(device, rows, allowed)[1].values()) == {"release"}


def test_a_new_key_signs_from_its_row_on() -> None:
    device, new = MadeDevice(), Ed25519PrivateKey.generate()
    old = device.key
    rows = device.rows(2)
    device.key = new
    rows += device.rows(2)
    keys = (DeviceKey(old.public_key(), 1), DeviceKey(new.public_key(), 3))
    assert judged(device, rows, Allowed({device.name: device.allowed(keys=keys)}))[1] == {}
    late = (DeviceKey(old.public_key(), 1), DeviceKey(new.public_key(), 4))
    allowed = Allowed({device.name: device.allowed(keys=late)})
    assert judged(device, rows, allowed)[1] == {2: "signature"}


def _headers(row: EdgeRow) -> list[tuple[str, bytes | None]]:
    return headers_of("till-17", row)


@pytest.mark.parametrize(
    "change",
    [
        *(
            pytest.param(lambda h, n=name: [e for e in h if e[0] != n], id=f"without {name}")
            for name in EDGE_HEADERS
        ),
        *(
            pytest.param(lambda h, n=name: [*h, (n, dict(h)[n])], id=f"{name} twice")
            for name in EDGE_HEADERS
        ),
        *(
            pytest.param(
                lambda h, n=name: [(k, None if k == n else v) for k, v in h], id=f"{name} null"
            )
            for name in EDGE_HEADERS
        ),
        *(
            pytest.param(
                lambda h, d=digits: [(k, d if k == EDGE_SEQUENCE else v) for k, v in h],
                id=f"sequence {digits!r}",
            )
            for digits in (b"0", b"-1", b"01", b"1 ", "\u0661".encode(), b"9" * 19, b"1" * 20)
        ),
        pytest.param(
            lambda h: [(k, b"x" * 1_000_000 if k == "edge-decision" else v) for k, v in h],
            id="a decision of a megabyte",
        ),
        pytest.param(
            lambda h: [(k, b"a/b" if k == "edge-device" else v) for k, v in h], id="no name"
        ),
        pytest.param(
            lambda h: [(k, bytes(32) if k == "edge-digest" else v) for k, v in h], id="digest"
        ),
        pytest.param(
            lambda h: [(k, bytes(63) if k == "edge-signature" else v) for k, v in h], id="short"
        ),
    ],
)
def test_malformed_headers_are_refused_next_to_a_good_row(change: Callable[[Any], Any]) -> None:
    device = MadeDevice()
    good, bad = device.rows(2)
    raw = records_of(
        [(device.name, good), (device.name, bad), (b"c", b"plain")], {1: change(_headers(bad))}
    )
    found, malformed = claimed(raw)
    assert found.row == (0,)
    assert list(malformed) == [1]
    assert malformed[1].startswith("malformed: ")
    claims, refused = verified(found, Allowed({device.name: device.allowed()}))
    assert (len(claims), refused) == (1, {})


def test_given_decisions_are_what_the_devices_say() -> None:
    first, second = MadeDevice("a"), MadeDevice("b")
    failed = decision_of(
        "t1", score=np.nan, margin=np.nan, model_outcome=None, reasons=("MODEL_ERROR",)
    )
    rows: list[Any] = [
        ("a", first.row(b"v", decision_of("t0", reasons=()))),
        (b"c", b"plain"),
        ("b", second.row(b"v", failed)),
        ("a", first.row(b"v", decision_of(
            "t2", version="9.0.1", flags=int(Flag.DEGRADED), terminal_watermark=9,
            outcome=Outcome.BLOCK, features=np.arange(4.0).tobytes(),
        ))),
    ]  # fmt: skip
    allowed = Allowed(
        {"a": first.allowed(), "b": second.allowed()},
        {LABEL: RELEASE, "fraud:9.0.1": replace(RELEASE, features=4)},
    )
    claims, refused = verified(claimed(records_of(rows))[0], allowed)
    given = claims.given
    assert refused == {}
    assert given.row.tolist() == [0, 2, 3]
    assert [(maker.version, maker.features) for maker in given.makers] == [
        ("9.0.0", 3),
        ("9.0.1", 4),
    ]
    assert given.maker.tolist() == [0, 0, 1]
    assert given.score.tolist()[::2] == [0.875, 0.875]
    assert np.isnan(given.score[1])
    assert given.outcome.tolist() == [Outcome.REVIEW, Outcome.REVIEW, Outcome.BLOCK]
    assert given.model_outcome.tolist() == [Outcome.BLOCK, NO_OUTCOME, Outcome.BLOCK]
    assert given.flags.tolist() == [0, 0, Flag.DEGRADED]
    assert given.watermark.tolist() == [NEVER, NEVER, 9]
    assert given.features[1].tolist() == [[0.0, 1.0, 2.0, 3.0]]
    assert given.features[0].shape == (2, 3)
    assert given.reasons == {2: ("MODEL_ERROR",), 3: ("amount", "night")}
    assert [claims.devices[at] for at in claims.device.tolist()] == ["a", "b", "a"]
    part = given.at(np.array([1, 3]))
    assert (part.row.tolist(), part.maker.tolist()) == ([1], [1])
    assert [table.shape for table in part.features] == [(0, 3), (1, 4)]
    assert part.reasons == {1: ("amount", "night")}


def test_a_device_decides_its_own_transaction_in_its_scope() -> None:
    device = MadeDevice()
    rows = [device.row(b"v", decision_of(f"t{n}")) for n in range(4)]
    events = batch([
        event(0, customer_id="mine", terminal_id="here"),
        event(7, customer_id="mine", terminal_id="here"),
        event(2, customer_id="other", terminal_id="here"),
        event(3, customer_id="mine", terminal_id="there"),
    ])  # fmt: skip
    ids = events.records.column("transaction_id").to_pylist()
    rows = [device.row(b"v", decision_of(id_)) for id_ in (ids[0], "t1", ids[2], ids[3])]
    hashed = frozenset(hashes_of(events.records.column("customer_id"))[:1].tolist())
    here = frozenset(events.hashes("terminal_id")[:1].tolist())
    allowed = Allowed({device.name: device.allowed(customers=hashed, terminals=here)})
    claims, _ = judged(device, rows, allowed)
    found = claims.misplaced(events, np.arange(4))
    assert found == {1: "transaction", 2: "scope", 3: "scope"}
    free, _ = judged(device, rows)
    assert free.misplaced(events, np.arange(4)) == {1: "transaction"}
    assert free.misplaced(events.take(np.array([1])), np.array([0])) == {0: "transaction"}
