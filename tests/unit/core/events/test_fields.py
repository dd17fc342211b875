"""A column of strings is read where Arrow keeps it, and what rings keep of fields stays so."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.fields import MISSING, NULL, kept_values
from stream_scorer.core.events.strings import string_views
from tests.support.core.events import batch, event

WORDS = pa.array(["one", "", None, "four"], pa.string())


@pytest.mark.parametrize("column", [WORDS, WORDS[1:3], WORDS[3:], WORDS[4:]])
def test_each_string_is_between_its_offsets(column: pa.Array) -> None:
    offsets, data = string_views(column)
    found = [data[a:b].tobytes().decode() for a, b in pairwise(offsets.tolist())]
    assert found == [text or "" for text in column.to_pylist()]


def test_a_column_without_rows_may_have_no_offsets() -> None:
    # Arrow's format allows it, and another library's empty batch may come so.
    offsets, data = string_views(pa.StringArray.from_buffers(0, None, pa.py_buffer(b"")))
    assert offsets.tolist() == [0]
    assert offsets.dtype == np.dtype(np.int32)
    assert len(data) == 0


def test_what_rings_keep_of_a_boolean_is_what_checkpoints_hold() -> None:
    events = batch(
        [event(n, card_present=present) for n, present in enumerate((False, True, None))]
    )
    assert kept_values(events, ["card_present"]).tolist() == [[2, 3, 1]]
    assert (MISSING, NULL) == (0, 1)
