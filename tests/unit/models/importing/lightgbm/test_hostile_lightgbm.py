import time
import tracemalloc
from collections.abc import Callable

import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.lightgbm.read import read_lightgbm
from tests.support.imports.hostile_lightgbm import FILES, MODEL, OPTIONS, sized

SECONDS_MOST = 5
MEMORY_MOST = 16 << 20
"""Bytes that a refusal may allocate in addition to a multiple of the file's size."""
MULTIPLE_MOST = 12


def test_the_model_that_the_hostile_files_change_is_read() -> None:
    model = read_lightgbm(sized(MODEL), ImportOptions()).model
    assert len(model.parts) == 1


@pytest.mark.parametrize(("file", "reason"), [c[1:] for c in FILES], ids=[c[0] for c in FILES])
def test_a_hostile_file_is_refused_in_one_line(file: Callable[[], bytes], reason: str) -> None:
    data = file()
    start = time.process_time()
    with pytest.raises(ModelError) as refusal:
        read_lightgbm(data, ImportOptions())
    assert time.process_time() - start < SECONDS_MOST
    message = str(refusal.value)
    assert reason in message
    assert message.isprintable()
    assert len(message) < 300
    assert refusal.value.fix


@pytest.mark.parametrize(
    ("data", "options", "reason"), [c[1:] for c in OPTIONS], ids=[c[0] for c in OPTIONS]
)
def test_an_option_that_the_file_cannot_honour_is_refused(
    data: bytes, options: ImportOptions, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        read_lightgbm(data, options)


def test_no_refusal_allocates_by_a_number_of_the_file() -> None:
    for name, file, _ in FILES:
        data = file()
        tracemalloc.start()
        with pytest.raises(ModelError):
            read_lightgbm(data, ImportOptions())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MEMORY_MOST + MULTIPLE_MOST * len(data), name


def test_there_are_forty_different_causes() -> None:
    assert len({reason for _, _, reason in FILES}) >= 40
