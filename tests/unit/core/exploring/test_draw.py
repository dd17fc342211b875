"""The draws: who is let through, with what probability, and that nobody can ask twice."""

import hashlib
import hmac
import struct

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.exploring.contract import Drawn, Exploration
from stream_scorer.core.exploring.draw import draw, drawn_for_review, numbers

DAY = 86_400_000
KEY = bytes(range(32))
BANDS = np.array([[0.8, 0.25], [0.95, 0.0]])
EXPLORATION = Exploration(BANDS, 15_000, KEY)


def _draw(
    customers: list[str], *, time: int = 5 * DAY, score: float = 0.9, amount: int = 100,
    block: bool = True, key: bytes = KEY,
) -> Drawn:  # fmt: skip
    n = len(customers)
    return draw(
        Exploration(BANDS, 15_000, key), pa.array(customers), np.full(n, time), np.full(n, score),
        np.full(n, amount), np.full(n, block),
    )  # fmt: skip


def test_the_number_is_that_of_the_documented_text() -> None:
    text = b"let-through\0" + "Zoë".encode() + b"\0" + struct.pack("<q", -3)
    (number,) = struct.unpack("<Q", hmac.new(KEY, text, hashlib.sha256).digest()[:8])
    assert numbers(KEY, ["Zoë"], np.array([-3]))[0] == number / 2**64


def test_a_share_of_p_is_let_through_with_its_propensity() -> None:
    found = _draw([f"c{i}" for i in range(20_000)])
    # Binomial: standard deviation 0.0031.
    assert abs(found.through.mean() - 0.25) < 4 * 0.0031
    assert set(found.propensity[found.through]) == {0.25}
    assert set(found.propensity[~found.through]) == {0.75}


def test_a_hundred_retries_of_a_day_have_one_answer() -> None:
    for customer in ("a", "b", "c", "d", "e", "f", "g", "h"):
        times = np.arange(100) * (DAY // 100) + 9 * DAY
        scores, amounts = np.linspace(0.8, 0.94, 100), np.arange(100)
        found = draw(
            EXPLORATION, pa.array([customer] * 100), times, scores, amounts, np.ones(100, np.bool_)
        )
        assert len(set(found.through)) == 1
    answers = {bool(_draw(["a"], time=day * DAY).through[0]) for day in range(60)}
    assert answers == {True, False}


@pytest.mark.parametrize(
    "changed", [{"score": 0.79}, {"score": 0.95}, {"score": np.nan}, {"amount": 15_001},
                {"block": False}],
)  # fmt: skip
def test_outside_the_estimand_nothing_is_let_through(changed: dict[str, float]) -> None:
    found = _draw([f"c{i}" for i in range(200)], **changed)  # type: ignore[arg-type]
    assert not found.through.any()
    assert (found.propensity == 1.0).all()


def test_another_key_draws_others() -> None:
    customers = [f"c{i}" for i in range(2_000)]
    one, other = _draw(customers).through, _draw(customers, key=b"x" * 32).through
    # Independent: a quarter of a quarter is in both; standard deviation 11.
    assert abs(int((one & other).sum()) - 125) < 50


def test_the_draw_for_review_has_its_share_and_its_key() -> None:
    hashes = np.arange(100_000, dtype=np.uint64)
    drawn = drawn_for_review(KEY, 0.05, hashes)
    assert abs(drawn.mean() - 0.05) < 4 * 0.0007
    assert (drawn == drawn_for_review(KEY, 0.05, hashes)).all()
    other = drawn_for_review(b"x" * 32, 0.05, hashes)
    assert abs(int((drawn & other).sum()) - 250) < 70
    assert drawn_for_review(KEY, 1.0, hashes).all()


def test_a_key_is_not_printed() -> None:
    assert "key" not in repr(EXPLORATION)
