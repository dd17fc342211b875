"""``/v1/edge`` without a server and without a broker: who may upload what, and each refusal."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.chain import chained
from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.claims.verify import DeviceKey
from stream_scorer.edge.registry.registration import RegistrationRecord, registered
from stream_scorer.edge.registry.registry import KnownRegistration
from stream_scorer.edge.upload.publisher import EdgePublisher
from stream_scorer.errors import UnavailableError
from stream_scorer.serving.edge.service import EdgeConnections, EdgeService, routes
from stream_scorer.serving.openapi.document import openapi_document
from stream_scorer.serving.openapi.edge_operations import edge_operations
from stream_scorer.serving.openapi.problem_kinds import KINDS
from stream_scorer.serving.openapi.service import OpenApiService
from stream_scorer.serving.settings.api import Serving
from stream_scorer.serving.settings.edge import EdgeApi
from stream_scorer.serving.web.messages import Caller, Request
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import Settings
from stream_scorer.telemetry import EdgeUploaded, Event
from tests.support.edge.devices import Allowed, MadeDevice, decision_of
from tests.support.edge.fake_cluster import FakeCluster
from tests.support.processes.cancelled_calls import cancel_begun
from tests.unit.edge.registry.test_registry import OPERATOR, registration

SETTINGS = Settings(serving=Serving(edge=EdgeApi(enabled=True, rows_most=10)))


class FakeRegistry(Allowed):
    """What operators allow, with the signed records."""

    def known(self, kind: str, name: str) -> KnownRegistration | None:
        """Return a revoked registration."""
        del kind
        told = registration(MadeDevice(name), revoked_after=2)
        return KnownRegistration(told, registered(told, 3, 5, OPERATOR))


class Edge:
    """The service with a device, and calls to it."""

    def __init__(self, **allowed: Any) -> None:
        self.cluster, self.device, self.told = FakeCluster(), MadeDevice(), list[Event]()
        self.registry = FakeRegistry({self.device.name: self.device.allowed(**allowed)})

        def connect(settings: Settings, listener: Any) -> EdgeConnections:
            del settings, listener
            publisher = EdgePublisher("transactions", self.cluster, self.cluster.producer, 8)
            stack = ExitStack()
            stack.callback(publisher.close)
            return EdgeConnections(self.registry, publisher, stack)  # type: ignore[arg-type]

        self.connect = connect

    def call(self, method: str, body: Any = None, client: str = "till-17") -> dict[str, Any]:
        """Return the answer's JSON."""

        async def ask() -> dict[str, Any]:
            async with EdgeService(SETTINGS, self.told.append, self.connect) as service:
                (route,) = [r for r in routes(service, SETTINGS) if r.method == method]
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                request = Request(
                    method, route.pattern, "", {}, data, {},
                    Caller(client, frozenset({"edge"}), "key"), "r", "", "", 0.0,
                )  # fmt: skip
                answer = await route.handler(request)
                found: dict[str, Any] = json.loads(answer.body)
                return found

        return asyncio.run(ask())

    def post(self, rows: list[EdgeRow], **members: Any) -> dict[str, Any]:
        """Upload rows."""
        return self.call("POST", {"rows": [as_json(row) for row in rows], **members})

    def refused(self, call: Callable[[], Any]) -> Problem:
        """Return the problem of a call that publishes nothing."""
        before = list(self.cluster.published)
        with pytest.raises(Problem) as caught:
            call()
        assert self.cluster.published == before
        return caught.value

    def results(self) -> dict[str, int]:
        """Return the reported rows by result."""
        found: dict[str, int] = {}
        for event in self.told:
            assert isinstance(event, EdgeUploaded)
            found[event.result] = found.get(event.result, 0) + event.rows
        return found


def as_json(row: EdgeRow) -> dict[str, Any]:
    names = ("key", "value", "decision", "previous", "signature")
    return {
        "sequence": row.sequence,
        **{name: base64.b64encode(getattr(row, name)).decode() for name in names},
    }


def test_rows_are_published_and_the_answer_says_up_to_which() -> None:
    edge = Edge()
    rows = edge.device.rows(5)
    answer = edge.post(rows[:3])
    assert (answer["published"], answer["repeated"]) == (3, 0)
    assert answer["progress"] == {"sequence": 3, "chain": as_json(rows[3])["previous"]}
    assert edge.post(rows, device="till-17")["repeated"] == 3
    assert edge.call("GET")["sequence"] == 5
    assert edge.cluster.sequences("till-17") == [1, 2, 3, 4, 5]
    assert edge.results() == {"published": 5, "repeated": 3}


def test_a_device_uploads_its_own_rows_only() -> None:
    edge = Edge()
    rows = edge.device.rows(2)
    problem = edge.refused(lambda: edge.post(rows, device="till-18"))
    assert (problem.status, problem.kind) == (403, "edge-device")
    # Under its own name, another client has no registration; with one, scorers refuse the rows.
    body = {"rows": [as_json(row) for row in rows]}
    problem = edge.refused(lambda: edge.call("POST", body, client="shop"))
    assert (problem.status, problem.kind) == (403, "edge-unknown")
    problem = edge.refused(lambda: edge.call("GET", client="shop"))
    assert problem.kind == "edge-unknown"
    assert edge.results() == {"other_device": 2, "unknown": 2}


def test_a_revoked_device_is_told_so_with_the_operators_record() -> None:
    edge = Edge(revoked_after=2)
    rows = edge.device.rows(4)
    assert edge.post(rows[:2])["published"] == 2
    problem = edge.refused(lambda: edge.post(rows[1:]))
    assert (problem.status, problem.kind) == (403, "edge-revoked")
    assert problem.members["revoked_after"] == 2
    told = problem.members["registration"]
    record = RegistrationRecord(
        **{**told, "signature": base64.b64decode(told["signature"])}
    )  # fmt: skip
    OPERATOR.public_key().verify(record.signature, record.statement)
    assert edge.call("GET")["sequence"] == 2
    assert edge.results()["revoked"] == 3


def test_the_key_of_the_api_alone_moves_no_progress() -> None:
    edge = Edge()
    name = edge.device.name
    thief = MadeDevice(name)
    problem = edge.refused(lambda: edge.post(thief.rows(3)))
    assert (problem.status, problem.kind) == (403, "edge-signature")
    assert problem.detail.startswith("row 3 is not signed")
    # Nothing was asked of the cluster, so the device's own producer was not fenced either.
    assert edge.cluster.epochs == {}
    # A row of the thief after rows of the device.
    rows = edge.device.rows(2)
    other = MadeDevice(name, thief.key, 2, edge.device.chain).rows(1)
    assert edge.refused(lambda: edge.post(rows + other)).kind == "edge-signature"
    # The device's signature, with another number or for another device.
    moved = [replace(rows[1], sequence=3)]
    assert edge.refused(lambda: edge.post(moved)).kind == "edge-signature"
    namesake = MadeDevice("till-18", edge.device.key).rows(1)
    assert edge.refused(lambda: edge.post(namesake)).kind == "edge-signature"
    assert edge.post(rows)["published"] == 2
    assert edge.results() == {"signature": 8, "published": 2}


@pytest.mark.parametrize("change", [{"key": b"k"}, {"value": b"v"}, {"decision": b"d"}])
def test_the_last_signature_covers_the_rows_before(change: Any) -> None:
    edge = Edge()
    rows = edge.device.rows(4)
    changed = [rows[0], replace(rows[1], **change), *rows[2:]]
    assert edge.refused(lambda: edge.post(changed)).kind == "edge-order"
    # With the chain made again, the last row is not the one that the device signed.
    for at in (2, 3):
        before = changed[at - 1]
        chain = chained(before.previous, edge.device.name, before)
        changed[at] = replace(changed[at], previous=chain)
    assert edge.refused(lambda: edge.post(changed)).kind == "edge-signature"
    assert edge.post(rows)["published"] == 4
    assert edge.results() == {"order": 4, "signature": 4, "published": 4}


def test_the_key_is_the_one_of_the_last_rows_number() -> None:
    edge = Edge()
    old, new = edge.device.key, Ed25519PrivateKey.generate()
    keys = DeviceKey(old.public_key(), 1), DeviceKey(new.public_key(), 4)
    edge.registry.devices[edge.device.name] = edge.device.allowed(keys=keys)
    early = MadeDevice(edge.device.name, new).rows(3)
    assert edge.refused(lambda: edge.post(early)).kind == "edge-signature"
    rows = edge.device.rows(3)
    assert edge.post(rows[:2])["published"] == 2
    late = MadeDevice(edge.device.name, old, 3, edge.device.chain).rows(2)
    assert edge.refused(lambda: edge.post(rows[2:] + late)).kind == "edge-signature"
    edge.device.key = new
    rows += edge.device.rows(2)
    assert edge.post(rows[1:])["published"] == 3
    assert edge.cluster.sequences(edge.device.name) == [1, 2, 3, 4, 5]


def test_gaps_forks_and_disorder_have_their_own_problems() -> None:
    edge = Edge()
    rows = edge.device.rows(4)
    edge.post(rows[:2])
    problem = edge.refused(lambda: edge.post(rows[3:]))
    assert (problem.status, problem.kind, problem.members["expected"]) == (409, "edge-gap", 3)
    copy = MadeDevice(edge.device.name, edge.device.key, 1, rows[1].previous)
    forked = [copy.row(b"other", decision_of("other")), *copy.rows(1)]
    problem = edge.refused(lambda: edge.post(forked))
    assert (problem.status, problem.kind) == (409, "edge-fork")
    problem = edge.refused(lambda: edge.post(rows[2:][::-1]))
    assert (problem.status, problem.kind) == (400, "edge-order")
    assert edge.results() == {"published": 2, "gap": 1, "fork": 2, "order": 2}


def test_a_broker_that_is_away_is_a_503_with_a_time_to_wait() -> None:
    edge = Edge()

    def away(device: str) -> Any:
        raise UnavailableError("away")

    edge.cluster.newest = away  # type: ignore[method-assign]
    for call in (lambda: edge.post(edge.device.rows(1)), lambda: edge.call("GET")):
        problem = edge.refused(call)
        assert (problem.status, problem.kind) == (503, "edge-unavailable")
        assert problem.headers == (("retry-after", "5"),)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"no json",
        lambda b: {**b, "more": 1},
        lambda _: {"rows": []},
        lambda b: {"rows": b["rows"] * 11},
        lambda b: {"rows": [{**b["rows"][0], "sequence": 0}]},
        lambda b: {"rows": [{**b["rows"][0], "sequence": 2**63}]},
        lambda b: {"rows": [{**b["rows"][0], "sequence": "1"}]},
        lambda b: {"rows": [{**b["rows"][0], "value": ""}]},
        lambda b: {"rows": [{**b["rows"][0], "value": "*"}]},
        lambda b: {"rows": [{**b["rows"][0], "key": "A" * 8_000}]},
        lambda b: {"rows": [{**b["rows"][0], "previous": "AAAA"}]},
        lambda b: {"rows": [{**b["rows"][0], "signature": "AAAA"}]},
        lambda b: {"rows": [{**b["rows"][0], "decision": "A" * 40_000}]},
        lambda b: {"rows": [{**b["rows"][0], "more": ""}]},
        lambda _: b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_body_that_is_no_upload_is_refused(change: Any) -> None:
    edge = Edge()
    body = change({"rows": [as_json(edge.device.rows(1)[0])]})
    problem = edge.refused(lambda: edge.call("POST", body))
    assert (problem.status, problem.kind) == (400, "edge-invalid")


def test_the_document_describes_both_routes() -> None:
    service = EdgeService(SETTINGS, lambda _: None)
    served = [*routes(service, SETTINGS), *OpenApiService(dict).routes()]
    document = openapi_document(served, [edge_operations()])
    upload = document["paths"]["/v1/edge/events"]["post"]
    assert {"200", "400", "403", "409", "413", "503"} <= set(upload["responses"])
    told = json.dumps(document["paths"])
    edge = {kind.urn for kind in KINDS if kind.name.startswith("edge-")}
    assert len(edge) == 10
    assert all(f'"{urn}"' in told for urn in edge)
    row = document["components"]["schemas"]["UploadedRow"]
    assert row["properties"]["sequence"]["minimum"] == 1
    assert "get" in document["paths"]["/v1/edge/progress"]


def test_a_cancelled_start_closes_its_connections() -> None:
    began, released, closed = threading.Event(), threading.Event(), list[str]()

    def connect(settings: Settings, listener: Any) -> EdgeConnections:
        began.set()
        assert released.wait(60.0)
        opened = Edge().connect(settings, listener)
        opened.stack.callback(closed.append, "closed")
        return opened

    service = EdgeService(SETTINGS, print, connect)
    asyncio.run(cancel_begun(service.__aenter__(), began, released))
    assert closed == ["closed"]
