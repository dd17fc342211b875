"""``/v1/edge`` as its operator runs it: a server that is killed loses nothing."""

import base64
import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.settings import Kafka
from tests.support.edge.devices import MadeDevice, decision_of
from tests.support.edge.operators import Operator
from tests.support.edge.published import Delivery, rows_in
from tests.support.faults.process import wait_until
from tests.support.served.served_api import FAST, ServedApi
from tests.support.serving.access import make_key

pytestmark = pytest.mark.kafka


def body(rows: list[EdgeRow]) -> dict[str, Any]:
    names = ("key", "value", "decision", "previous", "signature")
    return {
        "rows": [
            {"sequence": row.sequence}
            | {name: base64.b64encode(getattr(row, name)).decode() for name in names}
            for row in rows
        ]
    }


class EdgeServer(ServedApi):
    """The API with ``/v1/edge`` alone, for the clients ``till-1`` and ``till-2``."""

    def __init__(self, operator: Operator, folder: Path, keys: dict[str, str]) -> None:
        super().__init__(
            operator.kafka, folder, serving={"edge": {"enabled": True}},
            variables=operator.variables(),
        )  # fmt: skip
        self.keys |= keys

    def upload(self, rows: list[EdgeRow], client: str = "till-1", **members: str) -> Any:
        """Upload rows as a device."""
        return self.call("POST", "/v1/edge/events", body(rows) | members, client)

    def counted(self) -> dict[str, float]:
        """Return the reported rows by result."""
        results = (
            "published", "repeated", "gap", "fork", "revoked", "signature", "unknown",
            "other_device",
        )  # fmt: skip
        name = "stream_scorer_edge_rows_total"
        return {result: self.metric(name, result=result) or 0.0 for result in results}


def test_devices_upload_through_servers_that_are_killed(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    operator = Operator(kafka, Ed25519PrivateKey.generate())
    device, other = MadeDevice("till-1"), MadeDevice("till-2")
    operator.register(device)
    rows = device.rows(400)
    folders = [tmp_path / name for name in ("a", "b")]
    keys = []
    for folder in folders:
        folder.mkdir()
        keys.append(
            {name: make_key(folder, name, scopes=["edge"], **FAST) for name in ("till-1", "till-2")}
        )
    first, second = (
        EdgeServer(operator, folder, told) for folder, told in zip(folders, keys, strict=True)
    )
    with first, second:
        for server in (first, second):
            server.wait_served()
        assert first.call("GET", "/v1/edge/progress", client="till-1").document["sequence"] == 0
        done = first.upload(rows[:100])
        assert (done.status, done.document["published"]) == (200, 100)
        # The other server takes the device over, and then this one again.
        done = second.upload(rows[50:150]).document
        assert (done["published"], done["repeated"]) == (50, 50)
        assert first.upload(rows[150:200]).status in {200, 503}
        assert first.upload(rows[150:200]).document["progress"]["sequence"] == 200
        # Who is not registered, has no scope, or names a gap, publishes nothing.
        assert first.upload(other.rows(2), "till-2").kind == "edge-unknown"
        assert first.upload(rows[200:201], "shop").kind == "forbidden"
        assert first.upload(rows[250:260]).kind == "edge-gap"
        first.kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            first.upload(rows[200:300])
        done = second.upload(rows[180:300])
        while done.status == 503:
            done = second.upload(rows[180:300])
        assert done.document["progress"]["sequence"] == 300
        assert second.metric("stream_scorer_edge_rows_total", result="published") == 150
        with operator.writer() as writer:
            writer.revoke(device.name, None, "lost")
        # Rows that would be a gap: nothing is published before the revocation has arrived.
        wait_until(
            lambda: second.upload(rows[310:320]).kind == "edge-revoked", "the device is revoked"
        )
        assert second.call("GET", "/openapi.json").document["paths"]["/v1/edge/events"]
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, device.name, 300) == Delivery(0, 0)
    assert {name for name, _ in found} == {"till-1"}


def test_each_refused_upload_publishes_nothing_and_is_counted(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    operator = Operator(kafka, Ed25519PrivateKey.generate())
    device, other, stranger = MadeDevice("till-1"), MadeDevice("till-2"), MadeDevice("till-3")
    operator.register(device, other)
    names = ("till-1", "till-2", "till-3")
    keys = {name: make_key(tmp_path, name, scopes=["edge"], **FAST) for name in names}
    rows, its = device.rows(10), other.rows(3)
    with EdgeServer(operator, tmp_path, keys) as server:
        server.wait_served()
        # A thief who has only the device's key of the API does not stop the device.
        thief = MadeDevice(device.name)
        assert server.upload(thief.rows(4)).kind == "edge-signature"
        assert server.upload(rows[:6]).document["published"] == 6
        # A sequence that is replayed; a copy of the device; rows that are missing.
        answer = server.upload(rows[2:5]).document
        assert (answer["published"], answer["repeated"]) == (0, 3)
        assert answer["progress"]["sequence"] == 6
        copy = MadeDevice(device.name, device.key, 5, rows[5].previous)
        forked = [copy.row(b"other", decision_of("other")), *copy.rows(1)]
        assert server.upload(forked).kind == "edge-fork"
        assert server.upload(rows[7:]).kind == "edge-gap"
        # A client for another device, and one that nobody has registered.
        assert server.upload(its, device="till-2").kind == "edge-device"
        assert server.upload(stranger.rows(1), "till-3").kind == "edge-unknown"
        with operator.writer() as writer:
            writer.revoke(other.name, 2, "lost")
        wait_until(
            lambda: server.upload(its[2:], "till-2").kind == "edge-revoked", lambda: server.said
        )
        # What it had decided before counts.
        assert server.upload(its[:2], "till-2").document["published"] == 2
        counted = server.counted()
    # Before the revocation has arrived, its row is a gap.
    assert counted.pop("gap") >= 3
    assert counted.pop("revoked") == 1
    assert counted == {
        "published": 8, "repeated": 3, "fork": 2, "signature": 4, "unknown": 1, "other_device": 3,
    }  # fmt: skip
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, device.name, 6) == Delivery(0, 0)
    assert Delivery.of(found, other.name, 2) == Delivery(0, 0)
