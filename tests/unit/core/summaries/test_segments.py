"""Events are in the segment of each dimension that their values choose."""

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.summaries.segments import NO_SEGMENTS, segments_of
from tests.support.core.events import batch, event
from tests.support.core.watched import EXTRAS, segments


def test_segments_are_numbered_by_name_of_their_key() -> None:
    chosen = segments({"shop": ["z", "a"], "gift": [False], "amount": [5, 7.5]})
    assert chosen.names == (
        "amount<5", "amount<7.5", "amount>=7.5", "gift=false", "gift=other", "shop=z", "shop=a",
        "shop=other",
    )  # fmt: skip
    assert chosen.count == 9
    other = segments({"amount": [5, 7.5], "gift": [False], "shop": ["z", "a"]})
    assert other.names == chosen.names
    assert segments_of(Plan()) is NO_SEGMENTS


def test_each_event_is_in_one_segment_of_each_dimension() -> None:
    chosen = segments({"shop": ["z", "a"], "gift": [False], "amount": [5, 7.5]})
    values = [(0, None, None), (499, False, "a"), (500, True, "z"), (749, False, ""),
              (750, None, "b"), (10**12, False, "z")]  # fmt: skip
    events = batch(
        [event(n, amount_minor=a, gift=g, shop=s, items=1) for n, (a, g, s) in enumerate(values)],
        EXTRAS,
    )
    found = chosen.members(events)
    names = [[chosen.names[number - 1] for number in row] for row in found.tolist()]
    assert names == [
        ["amount<5", "gift=other", "shop=other"],
        ["amount<5", "gift=false", "shop=a"],
        ["amount<7.5", "gift=other", "shop=z"],
        ["amount<7.5", "gift=false", "shop=other"],
        ["amount>=7.5", "gift=other", "shop=other"],
        ["amount>=7.5", "gift=false", "shop=z"],
    ]
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


def test_events_without_the_column_are_in_the_segment_of_others() -> None:
    chosen = segments({"shop": ["a"], "gift": [True]})
    found = chosen.members(batch([event(0), event(1)]))
    assert [chosen.names[number - 1] for number in found[1]] == ["gift=other", "shop=other"]


def test_many_values_are_found_by_their_hashes() -> None:
    listed = [f"{n:03}" for n in range(60)]
    chosen = segments_of(Plan(segments={"mcc": listed}))
    rows = [event(n, mcc=value) for n, value in enumerate([*listed, "060", "00", None])]
    found = chosen.members(batch(rows))[:, 0]
    assert found.tolist() == [*range(1, 61), 61, 61, 61]


def test_texts_are_hashes_and_0_for_null() -> None:
    events = batch([event(0, mcc=None, card_present=True), event(1, mcc="5", card_present=None)])
    mcc = events.texts("mcc")
    assert mcc[0] == 0
    assert mcc[1] == events.hashes("mcc")[1] > 0
    present = events.texts("card_present")
    assert present[0] == events.hashes("mcc").dtype.type(hash_of("true"))
    assert present[1] == 0
    assert not events.texts("amount_minor").any()
    assert not events.texts("unknown").any()


def hash_of(value: str) -> int:
    from stream_scorer.core.events.strings import hashes_of  # noqa: PLC0415

    return int(hashes_of(pa.array([value]))[0])
