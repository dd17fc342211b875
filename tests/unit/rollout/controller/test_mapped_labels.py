"""The controller reads a user's own labels by the rollout's plan, with the same evidence."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.rollout.controller.fold import Controlling
from stream_scorer.rollout.evidence.verdicts import CANARY_WAY
from stream_scorer.telemetry import Event, RolloutEvidence
from tests.support.rollout.rollout_stage import (
    CODECS,
    FILES,
    NUMBERS,
    Topics,
    columns,
    louder,
    rollout,
)
from tests.support.terminals.label_mappings import label_mappings

LABELS: dict[str, Any] = {
    "format": "json",
    "where": "state != open",
    "transaction_id": "payment.id",
    "event_time": {"path": "payment.at", "unit": "iso8601"},
    "is_fraud": {"path": "verdict", "table": {"chargeback": True, "genuine": False}},
    "label_time": {"path": "booked", "unit": "ms"},
}
CUSTOMER = {"customer_id": "payment.card"}
DATED = {name: rule for name, rule in LABELS.items() if name != "event_time"} | {
    "label_time": LABELS["event_time"]
}


def foreign(value: bytes | None) -> bytes:
    """Return a label as a user's JSON record."""
    label: dict[str, Any] = CODECS["labels"].decode(value or b"", FILES)
    booked = label["label_time"]
    return json.dumps(
        {
            "payment": {
                "id": label["transaction_id"], "card": label["customer_id"],
                "at": label["event_time"].isoformat(),
            },
            "verdict": "chargeback" if label["is_fraud"] else "genuine",
            "booked": None if booked is None else round(booked.timestamp() * 1_000),
        }
    ).encode()  # fmt: skip


def evidence(topics: Topics, shared: dict[str, Any] | None) -> tuple[Any, RolloutEvidence]:
    """Return the matured decisions' costs and count, and the reports on ignored records."""
    commands = rollout(shared=shared)
    assert commands.routing.slices == topics.routing.slices
    told: list[Event] = []
    controlling = Controlling(commands, columns(), NUMBERS, None, 3_600_000, 100_000, told.append)
    controlling.fold(topics.raw())
    assert controlling._gathering is not None
    way = controlling._gathering._ways[CANARY_WAY]
    waits = [each for each in told if isinstance(each, RolloutEvidence)]
    controlling.close()
    # Labels without an event time are kept a day longer.
    waits = [replace(each, labels=0) for each in waits]
    return (np.array(way.cost).tolist(), np.array(way.matured_count).tolist()), waits[-1]


@pytest.mark.parametrize("labels", label_mappings(LABELS, DATED, CUSTOMER))
def test_mapped_labels_give_the_same_evidence(labels: dict[str, Any]) -> None:
    topics = louder(Topics(rollout().routing), 2, every=10)
    expected, waits = evidence(topics, None)
    genuine = louder(Topics(topics.routing), 2)
    assert evidence(genuine, None)[0] != expected
    topics.rows = [
        (topic, partition, foreign(value) if topic == "labels" else value, time, headers)
        for topic, partition, value, time, headers in topics.rows
    ]
    shared = {"events": {"labels": labels}}
    assert evidence(topics, shared) == (expected, waits)
    time = topics.rows[0][3]
    for value in (None, b'{"state": "open"}'):
        topics.put("labels", 0, value, time)
    assert evidence(topics, shared) == (expected, waits)
    for bad in (b"", b"{", b'{"payment": 5}', b'{"verdict": "perhaps"}'):
        topics.put("labels", 1, bad, time)
    found, left_out = evidence(topics, shared)
    assert found == expected
    assert left_out.unreadable == 4
