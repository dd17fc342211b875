"""Paths that two programs could understand differently are refused."""

import pytest

from stream_scorer.serving.web.paths import check_path
from stream_scorer.serving.web.problems import Problem


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/decisions",
        "/v1/decisions/a.b~c@d:e=f+g,h",
        "/v2/models/größe/infer",
        "/a b",
        "/a/",
    ],
)
def test_a_plain_path_is_accepted(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "slash"),
        ("*", "slash"),
        ("v1", "slash"),
        ("/a//b", "empty"),
        ("//a", "empty"),
        ("/a/../b", "dot"),
        ("/..", "dot"),
        ("/./a", "dot"),
        ("/a/.", "dot"),
        ("/a%2e", "percent"),
        ("/%zz", "percent"),
        ("/\ufffd", "UTF-8"),
        ("/a\x00", "character"),
        ("/a\nb", "character"),
        ("/a\x1b[0m", "character"),
        ("/a\u202eb", "character"),
        ("/a\\b", "character"),
        ("/" + "a" * 2_048, "longer"),
        ("/" + "é" * 1_024, "longer"),
    ],
)
def test_a_suspicious_path_is_refused(path: str, why: str) -> None:
    with pytest.raises(Problem, match=why) as refused:
        check_path(path)
    assert (refused.value.status, refused.value.kind) == (400, "bad-path")
