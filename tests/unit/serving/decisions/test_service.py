"""The service around the gateway: its routes, dead letters, and the provisional outcome."""

import asyncio
import threading
from unittest import mock

import numpy as np
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.dead_letters.format import dead_letters
from stream_scorer.errors import RolloutError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.serving.decisions import service as service_module
from stream_scorer.serving.decisions.published import letter_of
from stream_scorer.serving.decisions.service import DecisionService, routes
from stream_scorer.serving.decisions.wiring import GatewayConnections, provisional_outcome
from stream_scorer.settings import Settings
from tests.support.processes.cancelled_calls import cancel_begun
from tests.support.serving.fake_scorers import body, request


def test_the_routes_are_those_of_the_page() -> None:
    service = DecisionService(Settings(), Deployment(), lambda _: None)
    post, get = routes(service)
    assert (post.method, post.pattern, post.scope) == ("POST", "/v1/decisions", "score")
    assert (get.method, get.pattern, get.scope) == ("GET", "/v1/decisions/{id}", "score")
    assert get.other_scope == "read"
    assert (post.body_bytes_max, post.seconds_max) == (2_097_152, 6.0)
    assert get.content_types == frozenset()


def test_before_its_window_is_read_it_is_not_ready() -> None:
    service = DecisionService(Settings(), Deployment(), lambda _: None)
    assert service.reasons() == ("the window is being read",)
    assert not service.ready()
    with pytest.raises(RuntimeError, match="not entered"):
        asyncio.run(service.ask(request(body())))


def test_a_cancelled_start_closes_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    began, released, opened = threading.Event(), threading.Event(), mock.Mock()

    def connected(*_: object) -> mock.Mock:
        began.set()
        assert released.wait(60.0)
        return opened

    monkeypatch.setattr(service_module, "connected", connected)

    service = DecisionService(Settings(), Deployment(), lambda _: None)
    asyncio.run(cancel_begun(service.__aenter__(), began, released))
    opened.stack.close.assert_called_once_with()


@pytest.mark.parametrize("part", ["tail", "sender", "watch", "plans", ""])
def test_a_part_that_has_failed_is_a_failure_of_all(part: str) -> None:
    error = RolloutError("the control log is not complete", "")
    parts = {
        name: mock.Mock(failure=error if name == part else None)
        for name in ("tail", "sender", "watch", "plans")
    }
    opened = GatewayConnections(
        mock.Mock(), (parts["tail"],), parts["sender"], parts["watch"], parts["plans"],
        mock.Mock(), mock.Mock(), mock.Mock(),
    )  # fmt: skip
    assert opened.failure is (error if part else None)


def test_the_policy_gives_the_provisional_outcome() -> None:
    assert provisional_outcome(Plan()) == "REVIEW"
    assert provisional_outcome(Plan(policy={"on_timeout": "APPROVE"})) == "APPROVE"


def raw(count: int, headers: list[list[tuple[str, bytes | None]] | None]) -> RawRecords:
    return RawRecords(
        BytesColumn.of([b"v"] * count), BytesColumn.of([b"k"] * count), headers,
        np.full(count, 3, np.int32), np.arange(7, 7 + count), np.full(count, 1_000, np.int64),
    )  # fmt: skip


def test_a_dead_letter_names_the_place_of_its_record() -> None:
    made = dead_letters(
        raw(2, [[("scorer-client", b"shop")], None]), [1, 0], ["CURRENCY", "DUPLICATE"],
        ["x: y", ""], topic="dlq", source_topic="transactions", instance="i",
    )  # fmt: skip
    assert made.headers is not None
    found = raw(4, [*made.headers, None, [("dlq.reason", b"X")]])
    first, second, *others = [letter_of(found, row, "transactions") for row in range(4)]
    assert first is not None
    assert second is not None
    assert (first.partition, first.offset) == (3, 8)
    assert (first.rejection.reason, first.rejection.detail) == ("CURRENCY", "x: y")
    assert (second.offset, second.rejection.reason) == (7, "DUPLICATE")
    assert others == [None, None]
    assert letter_of(found, 0, "other") is None
