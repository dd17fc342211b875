"""The place of a produced record, by the delivery report."""

import pytest
from confluent_kafka import KafkaError, Message

from stream_scorer.producing.sender import place_of


@pytest.mark.parametrize(
    ("code", "offset", "place"),
    [
        (None, 7, (2, 7)),
        (None, 0, (2, 0)),
        # The broker had the record of a repeated request already.
        (None, None, (-1, -1)),
        (KafkaError._MSG_TIMED_OUT, 7, (-1, -1)),
        (KafkaError._MSG_TIMED_OUT, None, (-1, -1)),
    ],
)
def test_only_an_acknowledged_offset_is_a_place(
    code: int | None, offset: int | None, place: tuple[int, int]
) -> None:
    message = Message(topic="t", partition=2, offset=-1001 if offset is None else offset)
    assert message.offset() == offset
    assert place_of(None if code is None else KafkaError(code), message) == place
