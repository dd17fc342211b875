import sys

import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportOptions
from tests.support.imports.catboost_hostile import (
    HOSTILE,
    Hostile,
    categorical,
    encoded,
    other,
    symmetric,
)


@pytest.mark.parametrize("case", HOSTILE, ids=[case.what for case in HOSTILE])
def test_a_hostile_file_is_refused_in_one_line(case: Hostile) -> None:
    with pytest.raises(ModelError) as caught:
        read_catboost(case.data(), case.options)
    message = str(caught.value)
    assert case.cause in message
    assert message.startswith("model: ")
    assert message.isprintable()
    assert len(message) <= 300
    assert caught.value.fix


def test_the_files_that_are_changed_are_valid() -> None:
    assert len(HOSTILE) == len({case.what for case in HOSTILE})
    for document in (symmetric(), other(), categorical()):
        read = read_catboost(encoded(document), ImportOptions())
        assert (read.feature_names or ())[:2] == ("column 0", "column 1")


def test_nesting_that_the_stack_has_no_room_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual // 2)
    try:
        with pytest.raises(ModelError, match="nested deeper than 512 levels"):
            read_catboost(b'{"a":' * 512 + b"1" + b"}" * 512, ImportOptions())
    finally:
        sys.setrecursionlimit(usual)
