"""The route of a method and a path."""

import pytest

from stream_scorer.serving.web.messages import Request, Response, Route
from stream_scorer.serving.web.problems import Problem
from stream_scorer.serving.web.router import Router


async def handler(request: Request) -> Response:
    return Response(200, request.body)


def router(*routes: tuple[str, str]) -> Router:
    return Router(Route(method, pattern, None, handler) for method, pattern in routes)


ROUTES = router(
    ("GET", "/v2"),
    ("POST", "/v1/decisions"),
    ("GET", "/v1/decisions/{id}"),
    ("DELETE", "/v1/decisions/{name}"),
    ("POST", "/v2/models/{model}/versions/{version}/infer"),
)


@pytest.mark.parametrize(
    ("method", "path", "pattern", "parameters"),
    [
        ("GET", "/v2", "/v2", {}),
        ("HEAD", "/v2", "/v2", {}),
        ("GET", "/v1/decisions/9f", "/v1/decisions/{id}", {"id": "9f"}),
        ("DELETE", "/v1/decisions/9f", "/v1/decisions/{name}", {"name": "9f"}),
        (
            "POST",
            "/v2/models/fraud/versions/1.1.0/infer",
            "/v2/models/{model}/versions/{version}/infer",
            {"model": "fraud", "version": "1.1.0"},
        ),
    ],
)
def test_finds_the_route(method: str, path: str, pattern: str, parameters: dict[str, str]) -> None:
    route, found = ROUTES.find(method, path)
    assert (route.pattern, dict(found)) == (pattern, parameters)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/decisions/a/b", "/v1/decisions/", "/V2", "/v2/models/a/infer"]
)
def test_an_unknown_path_is_not_found(path: str) -> None:
    with pytest.raises(Problem) as refused:
        ROUTES.find("GET", path)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v2", "GET, HEAD"),
        ("OPTIONS", "/v1/decisions", "POST"),
        ("HEAD", "/v1/decisions", "POST"),
        ("get", "/v2", "GET, HEAD"),
        ("POST", "/v1/decisions/9f", "DELETE, GET, HEAD"),
    ],
)
def test_another_method_is_not_allowed(method: str, path: str, allow: str) -> None:
    with pytest.raises(Problem) as refused:
        ROUTES.find(method, path)
    assert (refused.value.status, refused.value.headers) == (405, (("allow", allow),))


@pytest.mark.parametrize("pattern", ["v2", "/a//b", "/a/", "/a/{", "/a/{b", "/a/{1}", ""])
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        router(("GET", pattern))


@pytest.mark.parametrize("second", ["/a/{x}", "/a/{y}"])
def test_two_routes_for_the_same_requests_are_refused(second: str) -> None:
    with pytest.raises(ValueError, match="two routes"):
        router(("GET", "/a/{x}"), ("GET", second))


def test_remembered_paths_are_bounded_and_right() -> None:
    routes = router(("GET", "/v1/decisions/{id}"), ("POST", "/v1/decisions/{id}"))
    for number in [*range(3_000), *range(3_000)]:
        method = ("GET", "POST")[number % 2]
        found, parameters = routes.find(method, f"/v1/decisions/{number}")
        assert (found.method, parameters) == (method, {"id": str(number)})
    assert len(routes._remembered) <= 1_024
