"""Header fields have one meaning, or the request is refused."""

import pytest

from stream_scorer.serving.web.head_fields import RequestIds, check_framing, read_fields
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.fake_rsgi import FakeFields


def test_fields_are_found_by_name() -> None:
    sent = (("host", "x"), ("accept", "*/*"))
    assert read_fields(FakeFields(sent)) == {"host": "x", "accept": "*/*"}


def test_a_list_field_may_occur_twice() -> None:
    sent = (("via", "a"), ("host", "x"), ("via", "b"))
    assert read_fields(FakeFields(sent)) == {"host": "x", "via": "a, b"}


@pytest.mark.parametrize(
    "name", ["authorization", "content-type", "content-length", "host", "x-anything"]
)
def test_any_other_field_must_be_unique(name: str) -> None:
    with pytest.raises(Problem, match="twice"):
        read_fields(FakeFields(((name, "a"), (name, "a"))))


def test_a_value_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(Problem, match="visible ASCII"):
        read_fields(FakeFields((("host", "x"),), hidden=1))


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({}, "1.1"),
        ({"host": "x", "transfer-encoding": "chunked", "content-length": "3"}, "1.1"),
        ({"host": "x", "transfer-encoding": "gzip, chunked"}, "1.1"),
        ({"host": "x", "transfer-encoding": "chunked, chunked"}, "1.1"),
        ({"transfer-encoding": "identity"}, "1"),
    ],
)
def test_an_unclear_framing_is_refused(fields: dict[str, str], version: str) -> None:
    with pytest.raises(Problem) as refused:
        check_framing(fields, version)
    assert (refused.value.status, refused.value.kind) == (400, "bad-header")


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({"host": "x"}, "1.1"),
        ({}, "1"),
        ({}, "2"),
        ({"host": "x", "content-length": "3"}, "1.1"),
        ({"host": "x", "transfer-encoding": "Chunked"}, "1.1"),
    ],
)
def test_a_clear_framing_is_accepted(fields: dict[str, str], version: str) -> None:
    check_framing(fields, version)


@pytest.mark.parametrize("sent", ["a", "A-z.0_9", "x" * 64])
def test_a_valid_request_id_is_taken_over(sent: str) -> None:
    assert RequestIds().of(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "a b", "a\nb", "a,b", "é", "<a>"])
def test_any_other_request_id_is_replaced(sent: str | None) -> None:
    ids, others = RequestIds(), RequestIds()
    made = {ids.of(sent), ids.of(sent), others.of(sent)}
    assert len(made) == 3
    assert sent not in made
    assert all(ids.of(each) == each for each in made)
