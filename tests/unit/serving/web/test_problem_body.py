"""Problems as bytes."""

import json

from stream_scorer.serving.web.problem_body import internal_problem, problem_response
from stream_scorer.serving.web.problems import PROBLEM_JSON, Problem


def test_a_problem_has_the_members_of_its_standard() -> None:
    problem = Problem(
        409, "decided", "Already decided.", "7", headers=(("x", "y"),), members={"offset": 7}
    )
    response = problem_response(problem, "r-1")
    assert (response.status, response.content_type) == (409, PROBLEM_JSON)
    assert response.headers == (("x", "y"),)
    assert json.loads(response.body) == {
        "type": "urn:stream-scorer:problem:decided",
        "title": "Already decided.",
        "status": 409,
        "detail": "7",
        "offset": 7,
        "request_id": "r-1",
    }


def test_control_characters_are_escaped() -> None:
    problem = Problem(400, "a", "b", "\x1b]52;c;aGk=\x07\u202e\n", members={"m": "\x9b0m"})
    document = json.loads(problem_response(problem, "r").body)
    assert document["detail"] == "\\x1b]52;c;aGk=\\x07\\u202e\\n"
    assert document["m"] == "\\x9b0m"


def test_a_member_replaces_none_of_the_standard() -> None:
    problem = Problem(400, "a", "b", members={"status": 200, "type": "x", "request_id": "x"})
    document = json.loads(problem_response(problem, "r").body)
    assert (document["status"], document["request_id"]) == (400, "r")


def test_an_internal_error_shows_nothing() -> None:
    document = json.loads(problem_response(internal_problem(), "r").body)
    assert document.keys() == {"type", "title", "status", "request_id"}
