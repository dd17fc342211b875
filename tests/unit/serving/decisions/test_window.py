"""The window: first decisions by transaction, bounded by age and by memory."""

from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.serving.decisions.identity import (
    BodyMark,
    key_of,
    key_of_id,
    public_id,
)
from stream_scorer.serving.decisions.window import DecisionWindow, WindowDecision

NOW = 1_700_000_000_000
KEY = key_of("c", "t")


def decided(
    key: bytes = KEY, timestamp: int = NOW, offset: int = 5, payload: bytes = b"p",
    client: str = "shop", mark: BodyMark | None = None,
) -> WindowDecision:  # fmt: skip
    return WindowDecision(key, timestamp, 1, offset, payload, client, mark)


@given(
    st.binary(min_size=16, max_size=16), st.integers(0, 2**62), st.integers(0, 2**62),
    st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"]), max_size=63),
    st.none() | st.builds(BodyMark, st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16)),
)  # fmt: skip
def test_what_is_packed_is_unpacked(
    key: bytes, timestamp: int, offset: int, payload: bytes, client: str, mark: BodyMark | None
) -> None:
    one = decided(key, timestamp, offset, payload, client, mark)
    assert WindowDecision.unpacked(key, one.packed()) == one


def test_a_client_that_is_too_long_is_no_other_client() -> None:
    one = decided(client="x" * 256)
    assert WindowDecision.unpacked(KEY, one.packed()).client == ""


@given(st.binary(min_size=16, max_size=16))
def test_an_id_has_one_spelling(key: bytes) -> None:
    text = public_id(key)
    assert key_of_id(text) == key
    others = [text[:-1] + last for last in "ABCDEFGHIJKLMNOP-_" if last != text[-1]]
    assert all(key_of_id(other) != key for other in others)


def test_two_parts_of_a_key_stay_apart() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    assert BodyMark.parsed(BodyMark.of(7, b"x").header) == BodyMark.of(7, b"x")
    for header in (None, b"", b"1:", b"x:" + b"0" * 32, b"1:" + b"0" * 33, b"99999999999:" * 3):
        assert BodyMark.parsed(header) is None


def test_the_lowest_offset_stays() -> None:
    window = DecisionWindow(3_600, 1 << 20)
    window.add([decided(offset=5), decided(offset=9)], NOW)
    window.add([decided(offset=7)], NOW)
    found = window.find(KEY, NOW)
    assert found is not None
    assert found.offset == 5
    window.add([decided(offset=3, payload=b"first")], NOW)
    found = window.find(KEY, NOW)
    assert found is not None
    assert (found.offset, found.payload) == (3, b"first")
    assert len(window) == 1


def test_entries_leave_with_age() -> None:
    window = DecisionWindow(3_600, 1 << 20)
    window.add([decided()], NOW)
    assert window.find(KEY, NOW + 3_599_999) is not None
    assert window.find(KEY, NOW + 3_600_000) is None
    # A new decision of the same transaction replaces one that is too old.
    window.add([decided(timestamp=NOW + 3_600_001, offset=9)], NOW + 3_600_001)
    found = window.find(KEY, NOW + 3_600_001)
    assert found is not None
    assert found.offset == 9
    window.expire(NOW + 3_700_000)
    assert len(window) == 1
    window.expire(NOW + 7_300_000)
    assert (len(window), window.memory) == (0, 0)
    window.add([decided(timestamp=NOW - 3_600_000)], NOW)
    assert len(window) == 0


def test_memory_is_bounded_and_the_oldest_leave() -> None:
    window = DecisionWindow(3_600, 100_000)
    keys = [key_of("c", str(number)) for number in range(1_000)]
    for number, key in enumerate(keys):
        time = NOW + number * 1_000
        window.add([decided(key, time, payload=bytes(100))], time)
        assert window.memory <= 100_000
    later = NOW + 1_000_000
    known = [window.find(key, later) is not None for key in keys]
    assert known == sorted(known)
    assert 100 < sum(known) < 300
    assert window.shortened() == 1_000 - len(window)
    assert window.shortened() == 0


def test_what_came_through_the_api_stays_longest() -> None:
    window = DecisionWindow(3_600, 100_000)
    streamed = [key_of("s", str(number)) for number in range(500)]
    asked = [key_of("a", str(number)) for number in range(100)]
    window.add([decided(key) for key in asked], NOW)
    window.add([decided(key, NOW + 60_000 * n, client="") for n, key in enumerate(streamed)], NOW)
    assert all(window.find(key, NOW) is not None for key in asked)
    assert 0 < sum(window.find(key, NOW) is not None for key in streamed) < 400
    assert window.memory <= 100_000
