"""Bodies: their announced length and type, and those without a length."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stream_scorer.serving.web.body import announced_length, discard, read_open_end
from stream_scorer.serving.web.messages import JSON, Request, Response, Route
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.fake_rsgi import FakeProtocol


async def handler(request: Request) -> Response:
    return Response(200, request.body)


ROUTE = Route("POST", "/a", None, handler, 10)
BINARY = Route("POST", "/a", None, handler, 10, content_types=frozenset({"application/x"}))
UNTYPED = Route("POST", "/a", None, handler, 10, content_types=frozenset({JSON, ""}))
BODILESS = Route("GET", "/a", None, handler, content_types=frozenset())
TYPE = {"content-type": JSON}


@pytest.mark.parametrize(
    ("fields", "version", "length"),
    [
        ({}, "1.1", 0),
        ({"content-length": "0"}, "1.1", 0),
        ({"content-length": "0"}, "2", 0),
        (TYPE | {"content-length": "10"}, "1.1", 10),
        (TYPE | {"transfer-encoding": "chunked"}, "1.1", None),
        (TYPE, "2", None),
    ],
)
def test_the_head_announces_a_length(
    fields: dict[str, str], version: str, length: int | None
) -> None:
    assert announced_length(fields, version, ROUTE) == length


def test_without_a_body_to_expect_there_is_none() -> None:
    assert announced_length({}, "2", BODILESS) == 0


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"content-length": "11"}, 413, "too-large"),
        ({"content-length": "9" * 15}, 413, "too-large"),
        ({"content-length": "9" * 16}, 400, "bad-header"),
        ({"content-length": "-1"}, 400, "bad-header"),
        ({"content-length": "1_0"}, 400, "bad-header"),
        ({"content-length": "\u0661"}, 400, "bad-header"),
        ({"content-length": ""}, 400, "bad-header"),
        ({"content-length": "1"}, 415, "unsupported-media-type"),
        ({"content-length": "1", "content-type": "text/plain"}, 415, "unsupported-media-type"),
        (
            {"content-length": "1", "content-type": f"{JSON}; charset=utf-16"},
            415,
            "unsupported-media-type",
        ),
        (
            TYPE | {"content-length": "1", "content-encoding": "gzip"},
            415,
            "unsupported-encoding",
        ),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    fields: dict[str, str], status: int, kind: str
) -> None:
    with pytest.raises(Problem) as refused:
        announced_length(fields, "1.1", ROUTE)
    assert (refused.value.status, refused.value.kind) == (status, kind)


@pytest.mark.parametrize(
    "sent", [JSON, "Application/JSON", f"{JSON}; charset=UTF-8", f'{JSON};charset="utf-8"; x=y']
)
def test_json_is_known_by_its_type(sent: str) -> None:
    fields = {"content-length": "1", "content-type": sent}
    assert announced_length(fields, "1.1", ROUTE) == 1


def test_another_type_where_the_route_takes_it() -> None:
    fields = {"content-length": "1", "content-type": "application/x; charset=utf-16"}
    assert announced_length(fields, "1.1", BINARY) == 1


def test_a_body_without_a_type_where_the_route_takes_it() -> None:
    assert announced_length({"content-length": "1"}, "1.1", UNTYPED) == 1


def read(protocol: FakeProtocol, version: str = "1.1") -> bytes:
    return asyncio.run(read_open_end(protocol, version, ROUTE))


def test_reads_a_body_without_a_length() -> None:
    assert read(FakeProtocol([b"12", b"345"])) == b"12345"
    assert read(FakeProtocol([])) == b""
    assert read(FakeProtocol([b"12", b"", b"3"]), "2") == b"123"


def test_a_body_that_was_cut_off_is_refused() -> None:
    with pytest.raises(Problem, match="incomplete-body"):
        read(FakeProtocol([b"12"], cut=True))


def test_endless_empty_parts_are_refused() -> None:
    with pytest.raises(Problem, match="incomplete-body"):
        read(FakeProtocol([b""] * 100), "2")


def test_a_body_that_grows_too_long_is_refused() -> None:
    assert read(FakeProtocol([b"x" * 5] * 2)) == b"x" * 10
    with pytest.raises(Problem, match="too-large"):
        read(FakeProtocol([b"x" * 5] * 1_000))


def test_only_a_part_of_a_refused_body_is_discarded() -> None:
    taken: list[bytes] = []

    class Counted(FakeProtocol):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in super().__aiter__():
                taken.append(part)
                yield part

    asyncio.run(discard(Counted([b" " * 1_048_576] * 40)))
    assert len(taken) == 17
    taken.clear()
    asyncio.run(discard(Counted([b"1", b"", b"2"])))
    assert taken == [b"1", b""]
