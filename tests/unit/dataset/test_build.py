"""Rows of a dataset: which decisions, with which label, weight and features."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_scorer.codec.writing.encode import Constant
from stream_scorer.core.events.plan import Plan
from stream_scorer.dataset.build import DatasetBuilder
from stream_scorer.training.labelled import DatasetFolder
from tests.support.dataset.made_datasets import build, decided, known_of, labels

SPECS: list[dict[str, Any]] = [
    {"name": "A", "kind": "passthrough", "field": "amount"}, {"name": "N", "kind": "night"},
]  # fmt: skip
DAY = 86_400_000
EXPLORING = Plan(
    label_policy={"unlabelled": "genuine"},
    explore={
        "key_digest": "0" * 32, "bands": [{"from": 0.8, "p": 0.02}, {"from": 0.9, "p": 0.05}],
        "max_amount": 100.0, "cap_per_day": 1.0, "expected_per_day": 1.0,
        "computed_from": "0" * 64,
    },
)  # fmt: skip
"""A plan that lets blocks through."""


def features(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.arange(2.0 * count).reshape(count, 2) / 3


def built(
    folder: Path, ids: list[str], known: Any, **given: Any
) -> tuple[DatasetBuilder, pa.Table]:
    columns = given.pop("columns", {})
    rows = decided(ids, np.arange(len(ids)), features(len(ids)), **columns)
    builder = build(folder, [rows], known, SPECS, ("A", "N"), **given)
    parts = sorted(folder.glob("part-*.parquet"))
    return builder, pa.concat_tables([pq.read_table(part) for part in parts]) if parts else None


def label(transaction: str, at: int, state: str = "FRAUD", **others: Any) -> dict[str, Any]:
    given = {"is_fraud": state == "FRAUD", "state": state, "label_time": at + DAY, **others}
    return {"transaction_id": transaction, "event_time": at, **given}


def out(builder: DatasetBuilder) -> dict[str, int]:
    return {reason: count for reason, count in builder.left_out.items() if count}


def test_rows_have_features_label_and_weight(tmp_path: Path) -> None:
    known = known_of(labels([label("b", 1), label("c", 2, "GENUINE"), label("x", 9)]))
    builder, table = built(tmp_path, ["a", "b", "c"], known)
    assert (builder.rows, builder.frauds, out(builder)) == (3, 1, {})
    found = table.to_pydict()
    assert found["transaction_id"] == ["a", "b", "c"]
    assert found["is_fraud"] == [False, True, False]
    assert found["label_time"] == [None, 1 + DAY, 2 + DAY]
    assert found["weight"] == [1.0] * 3
    assert np.array_equal(np.stack([table["A"], table["N"]], axis=1), features(3))
    assert found["amount_minor"] == [1_000] * 3


def test_a_block_without_a_label_is_unknown_whatever_the_policy(tmp_path: Path) -> None:
    known = known_of(labels([label("b", 1), label("c", 2, "GENUINE")]))
    columns = {"decision": Constant("BLOCK")}
    builder, table = built(tmp_path, ["a", "b", "c"], known, columns=columns)
    assert out(builder) == {"blocked": 1}
    assert table["transaction_id"].to_pylist() == ["b", "c"]
    assert table["is_fraud"].to_pylist() == [True, False]


def test_let_through_rows_stand_for_the_blocked_ones(tmp_path: Path) -> None:
    through = {
        "decision": Constant("APPROVE"), "policy_outcome": Constant("BLOCK"),
        "outcome_propensity": np.array([0.02, 0.05]),
    }  # fmt: skip
    known, plans = known_of(labels([label("a", 0)])), {0: EXPLORING}
    builder, table = built(
        tmp_path / "1", ["a", "b"], known, columns=through, sample=0.001, plans=plans
    )
    # Genuine ones are not sampled: there are few of them.
    assert (builder.rows, out(builder)) == (2, {})
    assert table["weight"].to_pylist() == [50.0, 20.0]
    assert table["is_fraud"].to_pylist() == [True, False]
    # One that could have been let through is left out, with a label, too.
    stayed = {**through, "decision": Constant("BLOCK"), "outcome_propensity": np.full(2, 0.95)}
    builder, _ = built(tmp_path / "2", ["a", "b"], known, columns=stayed, plans=plans)
    assert (builder.rows, out(builder)) == (0, {"blocked": 2})
    # Another client wrote these: it would choose their weight.
    forged = {**through, "outcome_propensity": np.array([0.02, 1e-300])}
    builder, table = built(tmp_path / "3", ["a", "b"], known, columns=forged, plans=plans)
    assert (table["weight"].to_pylist(), out(builder)) == ([50.0], {"unreadable": 1})
    builder, _ = built(tmp_path / "4", ["a", "b"], known, columns=through)
    assert out(builder) == {"unreadable": 2}


def test_what_is_stated_as_unknown_or_disputed_is_left_out(tmp_path: Path) -> None:
    states = [label("a", 0, "UNKNOWN"), label("b", 1, "DISPUTED"), label("c", 2)]
    builder, table = built(tmp_path, ["a", "b", "c", "d"], known_of(labels(states)))
    assert out(builder) == {"unknown": 2}
    assert table["transaction_id"].to_pylist() == ["c", "d"]


def test_only_labels_that_were_known_then_count(tmp_path: Path) -> None:
    early, late = [label("a", 0)], [label("b", 1, label_time=DAY)]
    # The label of b is of the same time, but its record arrived later.
    known = known_of(labels(early, 5), labels(late, DAY + 1), as_of_ms=DAY)
    _, table = built(tmp_path / "1", ["a", "b"], known, as_of_ms=DAY)
    assert table["is_fraud"].to_pylist() == [True, False]
    known = known_of(labels([label("a", 0), label("b", 1)]), as_of_ms=DAY)
    _, table = built(tmp_path / "2", ["a", "b"], known, as_of_ms=DAY)
    assert table["is_fraud"].to_pylist() == [True, False]


def test_each_decision_follows_the_policy_of_its_revision(tmp_path: Path) -> None:
    ranked = Plan(label_policy={"unlabelled": "genuine", "sources": ["bank", "shop"]})
    ignoring = Plan(label_policy={"unlabelled": "ignore", "sources": ["shop", "bank"]})
    mature = Plan(
        label_policy={"unlabelled": "mature", "after_days": 2.0, "sources": ["shop", "bank"]}
    )
    said = [
        each
        for at, name in enumerate("aceg")
        for each in (
            label(name, 2 * at, "FRAUD", source="bank"),
            label(name, 2 * at, "GENUINE", source="shop", label_time=2 * DAY),
        )
    ]
    columns = {"plan_revision": np.array([1, 1, 2, 2, 3, 3, 9, 9])}
    by_revision = {1: ranked, 2: ignoring, 3: mature}
    _, table = built(
        tmp_path, list("abcdefgh"), known_of(labels(said)), columns=columns, plans=by_revision,
        as_of_ms=2 * DAY + 5,
    )  # fmt: skip
    found = dict(
        zip(*(table[name].to_pylist() for name in ("transaction_id", "is_fraud")), strict=True)
    )
    # Of f, 2 days have passed; of d, nothing is ever known. Without ranks, the newest one counts.
    assert found == {
        "a": True,
        "b": False,
        "c": False,
        "e": False,
        "f": False,
        "g": False,
        "h": False,
    }


def test_a_sample_keeps_frauds_and_weights_the_rest(tmp_path: Path) -> None:
    ids = [f"t{at}" for at in range(20_000)]
    said = known_of(labels([label(f"t{at}", at) for at in range(0, 500, 5)]))
    builder, table = built(tmp_path / "1", ids, said, sample=0.1)
    weight, fraud = table["weight"].to_numpy(), table["is_fraud"].to_numpy()
    assert fraud.sum() == 100
    assert (weight[fraud] == 1).all()
    assert (weight[~fraud] == 10).all()
    assert 1_850 < (~fraud).sum() < 2_130
    assert out(builder) == {"sampled": 19_900 - int((~fraud).sum())}
    # A larger sample has all rows of a smaller one.
    _, more = built(tmp_path / "2", ids, said, sample=0.2)
    assert set(table["transaction_id"].to_pylist()) < set(more["transaction_id"].to_pylist())


def test_other_models_features_and_times_are_left_out(tmp_path: Path) -> None:
    versions = {"model_version": pa.array(["1.0.0", "2.0.0", "1.0.0", "1.0.0"])}
    versions["model"] = pa.array(["fraud", "fraud", "other", "fraud"])
    builder, table = built(
        tmp_path / "1", list("abcd"), known_of(), columns=versions, first_ms=0, end_ms=3,
        same=lambda version: version == "1.0.0",
    )  # fmt: skip
    assert table["transaction_id"].to_pylist() == ["a"]
    assert out(builder) == {"other_model": 1, "other_features": 1}
    narrow = decided(["a", "b"], [0, 1], np.zeros((2, 1)))
    builder = build(tmp_path / "2", [narrow], known_of(), SPECS, ("A", "N"))
    assert (builder.rows, out(builder)) == (0, {"other_features": 2})
    old = {"amount_minor": np.full(2, -1)}
    builder, _ = built(tmp_path / "3", ["a", "b"], known_of(), columns=old)
    assert out(builder) == {"no_amount": 2}


def test_two_builds_give_equal_bytes_however_they_are_read(tmp_path: Path) -> None:
    count = 300_000
    ids = [f"t{at}" for at in range(count)]
    known = known_of(labels([label("t7", 7)]))
    whole = decided(ids, np.arange(count), features(count))
    parts = [whole.between(at, min(at + 70_001, count)) for at in range(0, count, 70_001)]
    for name, records in (("1", [whole]), ("2", parts)):
        build(tmp_path / name, records, known, SPECS, ("A", "N"), sample=0.9)
    files = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert files == ["dataset.json", "part-00000.parquet"]
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    opened = [DatasetFolder.open(tmp_path / name) for name in "12"]
    assert opened[0].digest == opened[1].digest
