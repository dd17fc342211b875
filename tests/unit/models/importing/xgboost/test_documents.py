"""The readers of JSON and UBJ give the same document, and refuse what is cut off or mutated."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.xgboost.json_document import read_json
from stream_scorer.models.importing.xgboost.number_lists import BinaryNumbers, TextNumbers
from stream_scorer.models.importing.xgboost.read import read_xgboost
from stream_scorer.models.importing.xgboost.ubj_document import read_ubj
from stream_scorer.models.importing.xgboost.values import Value
from tests.support.effort import examples
from tests.support.imports.xgboost_files import document, to_json, to_ubj

NAMES = st.text(max_size=8)
PLAIN = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8)
DOCUMENTS = st.recursive(
    PLAIN,
    lambda below: (
        st.dictionaries(NAMES, below, max_size=4)
        | st.lists(below, max_size=4)
        | st.lists(st.integers(-(10**9), 10**9), max_size=5)
    ),
    max_leaves=20,
)


def plain(value: Value) -> Any:
    """Return a document with its lists of numbers as lists."""
    if isinstance(value, dict):
        return {name: plain(below) for name, below in value.items()}
    if isinstance(value, list):
        return [plain(below) for below in value]
    if isinstance(value, TextNumbers | BinaryNumbers):
        return value.integers("here").tolist()
    return value


@settings(max_examples=examples(300))
@given(DOCUMENTS, st.sampled_from([None, 0, 3]))
def test_documents_are_read_as_the_standard_library_does(value: Any, indent: int | None) -> None:
    assert plain(read_json(json.dumps(value, indent=indent).encode())) == value
    assert plain(read_json(json.dumps(value, ensure_ascii=False).encode("utf-8"))) == value
    assert plain(read_ubj(to_ubj(value))) == value


def test_lists_of_floats_have_their_bits_in_both_formats() -> None:
    values = np.array([0.1, -1e-45, 3.4e38, -0.0], np.float32)
    text = "[" + ",".join(repr(float(value)) for value in values) + "]"
    written = read_json(text.encode())
    binary = read_ubj(to_ubj(values.tolist(), "split_conditions"))
    for found in (written, binary):
        assert isinstance(found, TextNumbers | BinaryNumbers)
        assert found.singles("here").tobytes() == values.tobytes()


@pytest.mark.parametrize("write", [to_json, to_ubj])
def test_a_file_that_is_cut_off_anywhere_is_refused(write: Any) -> None:
    data = write(document(1))
    for end in range(len(data)):
        with pytest.raises(ModelError, match=r"^XGBoost model: [^\n]+$"):
            read_xgboost(data[:end], ImportOptions())


@settings(max_examples=examples(500))
@given(st.data())
def test_a_mutated_file_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    write = data.draw(st.sampled_from([to_json, to_ubj]))
    changed = bytearray(write(document(1)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from([b"9", b"-", b"]", b"1e9", b"}"]))
        changed[at : at + data.draw(st.integers(0, 3))] = piece
    line = _refusal(bytes(changed))
    assert line is None or line.isprintable()
    assert len(line or "") < 400


def _refusal(data: bytes) -> str | None:
    """Return the error of a file; None if it is read."""
    try:
        read_xgboost(data, ImportOptions())
    except ModelError as error:
        return str(error)
    return None
