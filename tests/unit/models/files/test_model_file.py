"""The model file keeps every bit of a model, and each malformed one is refused in one line."""

import hashlib
import json
import struct
import time
import tracemalloc
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import ModelError
from stream_scorer.models.files import model_file, tensors
from stream_scorer.models.files.model_file import FORMAT, read_model, write_model
from stream_scorer.models.predictors.parts import After, Before
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.effort import examples
from tests.support.models.hostile_model_files import DATA, EVERY, HOSTILE
from tests.support.models.random_models import cuts_of, model, rows_near


def equal(a: Any, b: Any) -> bool:
    """Whether two models have the same types and bits."""
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    left, right = np.asarray(a), np.asarray(b)
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=examples(60), deadline=None)
def test_what_is_written_is_read(seed: int) -> None:
    made = model(seed, 3)
    data = write_model(made)
    found = read_model(data, "file")
    assert equal(found, made)
    assert write_model(found) == data
    rows = rows_near(cuts_of(made), seed, 5, 3)
    with np.errstate(all="ignore"):
        scores = ScoringPredictor(found).scores(rows)
        assert scores.tobytes() == ScoringPredictor(made).scores(rows).tobytes()


def test_every_kind_is_written_and_read() -> None:
    assert equal(read_model(DATA, "file"), EVERY)


def test_each_kind_of_step_has_a_name_in_the_file() -> None:
    assert {kind for kind, _ in model_file._BEFORE.values()} == set(get_args(Before))
    assert {kind for kind, _ in model_file._AFTER.values()} == set(get_args(After))
    for kind, named in (*model_file._BEFORE.values(), *model_file._AFTER.values()):
        assert list(named) == [field.name for field in fields(kind)]


def test_the_layout_is_that_of_safetensors() -> None:
    (length,) = struct.unpack_from("<Q", DATA)
    header = json.loads(DATA[8 : 8 + length])
    assert (8 + length) % 8 == 0
    assert header["__metadata__"]["format"] == FORMAT
    entry = header["parts.1.body.weight"]
    begin, end = entry["data_offsets"]
    assert (entry["dtype"], entry["shape"]) == ("F64", [2])
    assert DATA[8 + length + begin : 8 + length + end] == struct.pack("<2d", 1.0, 1.0)
    digests = json.loads(header["__metadata__"]["sha256"])
    assert digests["parts.1.body.weight"] == hashlib.sha256(struct.pack("<2d", 1, 1)).hexdigest()


@pytest.mark.parametrize("what", HOSTILE)
def test_each_malformed_file_is_refused_in_one_line(what: str) -> None:
    data, why = HOSTILE[what]
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ModelError) as refused:
            read_model(data, "bundle fraud:1.0.0: model.safetensors")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(refused.value)
    assert why in message
    assert message.startswith("bundle fraud:1.0.0: model.safetensors: ")
    assert message.isprintable()
    assert refused.value.fix
    assert peak < 40_000_000
    assert time.process_time() - began < 5


def test_there_are_at_least_sixty_causes() -> None:
    assert len(HOSTILE) == len({data for data, _ in HOSTILE.values()}) >= 60


def test_limits_that_are_met_are_not_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files above are refused for their fault alone: one with each limit just met is read."""
    monkeypatch.setattr(tensors, "ARRAYS_MOST", len(tensors.read(DATA)[1]))
    assert equal(read_model(DATA, "file"), EVERY)


@given(data=st.binary(max_size=300), position=st.integers(0, len(DATA)), keep=st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, position: int, keep: bool) -> None:  # noqa: FBT001 a case
    changed = DATA[:position] + data + (DATA[position + len(data) :] if keep else b"")
    told = ""
    try:
        found = read_model(changed, "file")
    except ModelError as refused:
        told = str(refused)
    assert told.isprintable()
    assert told or equal(found, EVERY)
