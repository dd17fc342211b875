"""``rollout explore``: the table that a plan takes, within the cap, whatever the labels say."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import plan_from
from stream_scorer.core.exploring.draws import Draws, explore_digest
from stream_scorer.errors import SettingsError
from stream_scorer.rollout.operator.explore import (
    ExploreOrder,
    WouldBeBlocks,
    blocks_of,
    key_digest_of,
    table_of,
    toml_of,
)

DAY = 86_400_000
KEY = bytes(range(32))


def order(**changed: Any) -> ExploreOrder:
    given = {"key": Path("k"), "cap": 500.0, "most_amount": 150.0, "share": 0.02, "first_ms": 0,
             "end_ms": 10 * DAY}  # fmt: skip
    return ExploreOrder(**{**given, **changed})


def blocks(count: int = 1_000, amount_minor: int = 10_000) -> WouldBeBlocks:
    at = np.arange(count)
    return WouldBeBlocks(
        at.astype(np.uint64), at * (10 * DAY // count),
        np.where(at % 2, 0.9, 0.8).astype(np.float64), np.full(count, amount_minor),
    )  # fmt: skip


def test_the_probability_is_lowered_until_the_cap_holds() -> None:
    # 100 would-be BLOCKs a day of 100 each: p = 0.02 loses 200 a day, so it fits into 500.
    found = table_of(blocks(), order(), "0" * 32)
    assert found["explore"]["bands"] == [{"from": 0.8, "p": 0.02}]
    assert found["explore"]["expected_per_day"] == 200.0
    assert found["let_through_per_day"] == pytest.approx(2.0)
    assert found["days_until_let_through"] == pytest.approx(150.0)
    assert found["days_until_genuine"] == pytest.approx(2_500.0)
    low = table_of(blocks(), order(cap=70.0), "0" * 32)["explore"]
    assert low["bands"][0]["p"] == 0.007
    assert low["expected_per_day"] <= low["cap_per_day"] == 70.0


def test_large_amounts_are_outside() -> None:
    both = [blocks(500, 10_000), blocks(500, 15_001)]
    columns = ("customer", "event_time", "score", "amount_minor")
    joined = WouldBeBlocks(*(np.concatenate([getattr(b, c) for b in both]) for c in columns))
    found = table_of(joined, order(), "0" * 32)
    assert (found["blocks"], found["blocks_inside"]) == (1_000, 500)
    assert found["explore"]["expected_per_day"] == 100.0
    with pytest.raises(SettingsError, match="amount of at most 50 — raise --max-amount"):
        table_of(blocks(), order(most_amount=50.0), "0" * 32)


def test_the_printed_table_is_a_plans() -> None:
    table = table_of(blocks(), order(), explore_digest(KEY))["explore"]
    read = tomllib.loads(toml_of(table))["shared"]["explore"]
    assert read == table
    plan = plan_from({"label_policy": {"unlabelled": "genuine"}, "explore": read})
    exploration = Draws(KEY).exploration(plan)
    assert exploration is not None
    assert exploration.most_minor == 15_000


def test_the_digest_does_not_depend_on_the_order_of_the_records() -> None:
    one = blocks()
    assert one.take(np.arange(1_000)[::-1]).digest == one.digest
    assert one.take(np.arange(999)).digest != one.digest


def test_only_would_be_blocks_of_the_range_are_counted() -> None:
    rows = [
        # (time, score, decision, policy's outcome)
        (0, 0.9, "BLOCK", None), (1, 0.9, "APPROVE", "BLOCK"), (2, 0.9, "APPROVE", "APPROVE"),
        (3, float("nan"), "BLOCK", "BLOCK"), (10 * DAY, 0.9, "BLOCK", "BLOCK"),
        (-1, 0.9, "BLOCK", "BLOCK"),
    ]  # fmt: skip
    time, score, decision, policy = zip(*rows, strict=True)
    records = pa.record_batch(
        {
            "customer_id": [f"c{at}" for at in range(6)],
            "event_time": pa.array(time, pa.timestamp("ms")), "score": score,
            "decision": decision, "policy_outcome": pa.array(policy, pa.string()),
            "amount_minor": np.arange(6), "currency": ["EUR"] * 6,
        }
    )  # fmt: skip
    found, count = blocks_of([records.slice(0, 3), records.slice(3)], order())
    assert (found.event_time.tolist(), found.amount_minor.tolist(), count) == ([0, 1], [0, 1], 4)
    other = records.set_column(6, "currency", pa.array(["EUR", "USD"] * 3))
    with pytest.raises(SettingsError, match="several currencies: EUR, USD"):
        blocks_of([other], order())
    with pytest.raises(SettingsError, match="none of 1 decisions is a BLOCK"):
        blocks_of([records.slice(2, 1)], order())


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"cap": 0.0}, "cap must be more than 0"), ({"share": 1.0}, "share must be more than 0"),
     ({"end_ms": DAY - 1}, "a day apart at least")],
)  # fmt: skip
def test_orders_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        order(**changed)


def test_a_key_must_be_private_and_long(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="others than its owner may read it"):
        key_digest_of(file)
    file.chmod(0o600)
    assert key_digest_of(file) == explore_digest(KEY)
    file.write_bytes(b"short")
    with pytest.raises(SettingsError, match="has 5 bytes, fewer than 32"):
        key_digest_of(file)
