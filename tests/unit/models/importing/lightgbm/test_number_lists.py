import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.lightgbm import number_lists
from stream_scorer.models.importing.lightgbm.number_lists import CHUNK_BYTES, decimals, integers


def test_decimals_are_correctly_rounded() -> None:
    random = np.random.default_rng(4)
    expected = random.normal(size=2000) * 10.0 ** random.integers(-300, 300, 2000)
    text = " ".join(f"{number:.17g}" for number in expected).encode()
    found = decimals("list", text, 2000)
    assert np.array_equal(found.view(np.int64), expected.view(np.int64))


def test_long_lists_are_read_in_parts() -> None:
    count = CHUNK_BYTES
    text = b" ".join([b"7", *[b"12"] * (count - 2), b"9"])
    found = integers("list", text, count, 0, 12)
    assert (found[0], found[-1], int(found.sum())) == (7, 9, 12 * (count - 2) + 16)


@pytest.mark.parametrize("blanks", range(4))
def test_a_blank_at_the_end_of_a_part_is_refused(blanks: int) -> None:
    text = b"1" * blanks + b" 1" * (CHUNK_BYTES // 2) + b" "
    with pytest.raises(ModelError, match="not an integer"):
        integers("list", text, text.count(b" ") + 1, 0, 2000)


def test_an_empty_list_has_no_number() -> None:
    assert integers("list", b"", 0, 0, 1).tolist() == []
    for count, text in ((1, b""), (0, b"1"), (0, b" ")):
        with pytest.raises(ModelError, match=f"numbers, not {count}"):
            integers("list", text, count, 0, 1)


def test_infinity_is_a_number_only_where_it_is_allowed() -> None:
    assert decimals("list", b"inf -inf 1", 3, infinite=True).tolist() == [np.inf, -np.inf, 1.0]
    for text, infinite in ((b"inf", False), (b"1e999", True), (b"nan", True), (b"--inf", True)):
        with pytest.raises(ModelError, match="list holds a"):
            decimals("list", text, 1, infinite=infinite)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0), ("0.3", 0.3), ("+.5", 0.5), ("1e-05", 1 / 100_000.0), ("2.5e+06", 2.5e6),
        ("12.3457", 12 + 3457 / 10_000), ("1e58", 1e50 * 1e8), ("-2", -2.0),
    ],
)  # fmt: skip
def test_legacy_decimals_are_computed_as_the_library_does(text: str, value: float) -> None:
    assert number_lists.legacy_decimal("sigmoid", text.encode()) == value
