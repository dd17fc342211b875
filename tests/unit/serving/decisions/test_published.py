"""The decisions of a topic that several input topics share."""

import numpy as np

from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.serving.decisions.published import PublishedDecisions
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.serving.fake_scorers import FILES, NOW_MS, TOPIC, body, payload


def test_decisions_of_another_input_topic_are_left_out() -> None:
    values = [payload(body(number), offset=number) for number in range(3)]
    offsets = np.arange(3)
    raw = RawRecords(
        BytesColumn.of(values), BytesColumn.nulls(3), None, np.zeros(3, np.int32), offsets,
        np.full(3, NOW_MS),
    )  # fmt: skip
    own = PublishedDecisions(FILES, TOPIC, SCHEMAS_DIRECTORY)
    assert [each.offset for each in own.of(raw)] == [0, 1, 2]
    other = PublishedDecisions(FILES, "refunds", SCHEMAS_DIRECTORY)
    assert list(other.of(raw)) == []
