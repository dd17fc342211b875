"""Each problem of the code has its kind, and the page and the document have each kind."""

import ast
import re
from http import HTTPStatus
from pathlib import Path

import pytest

from stream_scorer.serving.access import refusals
from stream_scorer.serving.openapi.problem_kinds import KINDS, kinds_of
from stream_scorer.serving.web.messages import Request, Response, Route

ROOT = Path(__file__).parents[4]
SERVING = ROOT / "stream_scorer" / "serving"


async def handler(request: Request) -> Response:
    raise NotImplementedError


def route(scope: str | None = "score", pattern: str = "/v3") -> Route:
    return Route("GET", pattern, scope, handler)  # type: ignore[arg-type]


def raised() -> set[tuple[int, str, str]]:
    """Return status, kind and title of each problem that the code makes."""
    found = {(status, kind, title) for status, (kind, title) in refusals._TITLES.items()}
    for path in SERVING.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id != "Problem":
                continue
            status, kind, title = node.args[:3]
            if isinstance(status, ast.Attribute):
                number = int(HTTPStatus[status.attr])
            elif isinstance(status, ast.Constant) and isinstance(status.value, int):
                number = status.value
            else:
                # Of the table of refusals.
                assert path.name == "refusals.py"
                continue
            assert isinstance(kind, ast.Constant), ast.unparse(node)
            found.add((number, str(kind.value), ast.unparse(title)))
    return found


def test_each_problem_of_the_code_has_its_kind() -> None:
    found = raised()
    assert {(status, name) for status, name, _ in found} == {(k.status, k.name) for k in KINDS}
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    # Each kind has one title.
    assert len(found) == len(KINDS)


def test_the_page_has_each_kind_with_its_status() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("API*.md"))
    rows = set(re.findall(r"^\| (\d{3}) (?:\| )?`([a-z-]+)` \|", pages, re.MULTILINE))
    assert {(str(kind.status), kind.name) for kind in KINDS} <= rows
    known = {kind.name for kind in KINDS}
    assert {name for _, name in rows} <= known


@pytest.mark.parametrize(
    ("made", "has", "has_not"),
    [
        (route(), {401, 403, 429}, {404, 405, 409}),
        (route(None), {400, 408, 413, 415, 500, 503}, {401, 403, 404, 429}),
        (route(pattern="/v3/{id}"), {404}, {405}),
    ],
)
def test_a_route_has_the_problems_of_its_kind(
    made: Route, has: set[int], has_not: set[int]
) -> None:
    statuses = {kind.status for kind in kinds_of(made)}
    assert has <= statuses
    assert not has_not & statuses


def test_a_problem_without_a_kind_is_refused() -> None:
    names = {kind.name for kind in kinds_of(route(), ("rejected",))}
    assert {"rejected", "access-unavailable"} <= names
    with pytest.raises(ValueError, match="teapot"):
        kinds_of(route(), ("teapot",))
