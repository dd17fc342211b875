"""Decisions are recomputed from their recorded features; each difference is named."""

import dataclasses
import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.routing import Override, Routing, Version, canary_slices
from stream_scorer.core.events.batch import Flag
from stream_scorer.errors import ReproductionError, SettingsError
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.reproduce import run
from stream_scorer.reproduce.arms import arms_of, routings
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.reproduce.decisions import Beginnings, DecidedOffsets, Published, Seen, Spool
from stream_scorer.reproduce.plans import RecordedPlans
from stream_scorer.reproduce.rescore import Bundles
from stream_scorer.reproduce.run import Question, compare_recorded
from stream_scorer.settings import MODELS_DIRECTORY, Settings
from tests.support.models.bundle_cases import edit
from tests.support.reproduce.reproduction_cases import PLAN, altered, events, model, published

FIRST = Version("fraud", "1.0.0")
SECOND = Version("fraud", "1.1.0")


@pytest.fixture(scope="module")
def decisions() -> pa.RecordBatch:
    return published()


def compared(decisions: pa.RecordBatch, store: Path = MODELS_DIRECTORY) -> Reproduction:
    bundles, plans = Bundles(FolderStore(store), ANY), RecordedPlans(FolderStore(store))
    found = Reproduction("recorded", read=len(decisions), chosen=len(decisions))
    compare_recorded(decisions, bundles, plans, found)
    found.missing_bundles = dict(bundles.refused)
    return found


def row_of(decisions: pa.RecordBatch, outcome: str) -> int:
    return int(decisions.column("decision").to_pylist().index(outcome))


def test_what_was_published_is_recomputed_bit_for_bit(decisions: pa.RecordBatch) -> None:
    outcomes = set(decisions.column("decision").to_pylist())
    assert outcomes == {"APPROVE", "REVIEW", "BLOCK"}
    found = compared(decisions)
    assert (found.equal, found.differing, found.fields) == (len(decisions), 0, {})
    found.refuse()


def _refused(found: Reproduction) -> str:
    with pytest.raises(ReproductionError) as refused:
        found.refuse()
    assert refused.value.exit_code == 13
    return refused.value.what


@pytest.mark.parametrize("towards", [0.0, 1.0])
def test_a_score_of_one_ulp_less_or_more_is_found(
    decisions: pa.RecordBatch, towards: float
) -> None:
    score = decisions.column("score")[17].as_py()
    other = float(np.nextafter(score, towards))
    found = compared(altered(decisions, 17, score=other))
    assert (found.differing, found.fields) == (1, {"score": 1})
    (told,) = found.examples
    assert (told["source_offset"], told["field"]) == (17, "score")
    assert (told["recorded"], told["recomputed"]) == (other, score)
    assert "1 of 4000 decisions differ (score 1)" in _refused(found)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("decision", lambda _: "APPROVE"),
        ("reasons", lambda told: told[1:]),
        ("reasons", lambda told: told[::-1]),
        ("reasons", lambda _: []),
        ("engine", lambda told: told + 1),
        ("model_outcome", lambda _: "APPROVE"),
        ("model_outcome", lambda _: None),
        ("calibrated_score", lambda _: 0.5),
        ("explanations", lambda told: told[1:]),
        ("explanations", lambda told: told[::-1]),
        ("explanations", lambda told: [told[0] | {"text": "x"}, *told[1:]]),
        ("explanations", lambda told: [told[0] | {"value": -told[0]["value"]}, *told[1:]]),
        (
            "explanations",
            lambda told: [
                told[0] | {"contribution": math.nextafter(told[0]["contribution"], 9.0)},
                *told[1:],
            ],
        ),
    ],
)
def test_what_else_was_altered_is_named(
    decisions: pa.RecordBatch, field: str, change: Callable[[Any], Any]
) -> None:
    row = row_of(decisions, "BLOCK")
    told = decisions.column(field)[row].as_py()
    assert field not in {"reasons", "explanations"} or len(told) > 1
    found = compared(altered(decisions, row, **{field: change(told)}))
    assert found.fields == {field: 1}
    assert [each["field"] for each in found.examples] == [field]
    assert (found.examples[0]["recorded"], found.examples[0]["recomputed"]) == (change(told), told)


def test_a_reason_of_an_approved_transaction_is_found(decisions: pa.RecordBatch) -> None:
    found = compared(altered(decisions, row_of(decisions, "APPROVE"), reasons=["TX_AMOUNT"]))
    assert found.fields == {"reasons": 1}


def test_version_1_is_compared_by_the_fields_of_that_version(
    decisions: pa.RecordBatch,
) -> None:
    row = row_of(decisions, "BLOCK")
    first: dict[str, Any] = {
        "amount_minor": -1, "currency": "", "channel": "UNKNOWN", "model_outcome": None,
        "policy_revision": 0, "explanations": None,
    }  # fmt: skip
    old = altered(decisions, row, **first)
    found = compared(old)
    assert (found.equal, found.differing) == (len(decisions), 0)
    assert compared(altered(old, row, reasons=[])).fields == {"reasons": 1}
    assert compared(altered(old, row, decision="APPROVE")).fields == {"decision": 1}
    # A decision with explanations is compared as one of version 2.
    assert compared(altered(old, row, explanations=[])).fields.keys() == {
        "model_outcome", "explanations",
    }  # fmt: skip


def test_a_feature_that_was_altered_gives_another_score(decisions: pa.RecordBatch) -> None:
    row = row_of(decisions, "BLOCK")
    values = np.frombuffer(decisions.column("features")[row].as_py(), "<f8").copy()
    values[0] = 1.0
    found = compared(altered(decisions, row, features=values.tobytes()))
    assert found.fields["score"] == 1


def test_features_of_another_count_are_reported_as_such(decisions: pa.RecordBatch) -> None:
    value = decisions.column("features")[5].as_py()
    found = compared(altered(decisions, 5, features=value[:-8]))
    assert found.differing == 1
    told = {each["field"]: each for each in found.examples}
    assert told["features"]["recorded"] == f"{len(value) - 8} bytes"
    assert told["features"]["recomputed"] == f"{len(value) // 8} numbers"


def test_a_bundle_with_another_threshold_is_refused_or_found(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    store = tmp_path / "models"
    bundle = store / "fraud" / "1.0.0"
    shutil.copytree(MODELS_DIRECTORY / "fraud" / "1.0.0", bundle)
    edit(bundle, lambda manifest: manifest["thresholds"].update(review=0.9, block=0.95))
    found = compared(decisions, store)
    # The content hash includes the thresholds, so the bundle is not loaded at all.
    assert list(found.missing_bundles) == ["fraud:1.0.0"]
    assert "content hash" in found.missing_bundles["fraud:1.0.0"]
    assert found.not_compared == len(decisions)
    assert "4000 of 4000 decisions cannot be recomputed: fraud:1.0.0" in _refused(found)


def test_decisions_by_another_threshold_are_found() -> None:
    ours = model()
    thresholds = dataclasses.replace(ours.thresholds, review=ours.thresholds.review / 2)
    found = compared(published(dataclasses.replace(ours, thresholds=thresholds)))
    assert found.fields.keys() == {"decision", "reasons", "model_outcome", "explanations"}
    assert found.fields["decision"] == found.differing > 0
    assert {each["recorded"] for each in found.examples if each["field"] == "decision"} == {
        "REVIEW"
    }


def test_a_bundle_that_is_gone_is_named(decisions: pa.RecordBatch) -> None:
    found = compared(altered(decisions, 3, model_version="9.9.9"))
    assert (found.equal, found.not_compared) == (len(decisions) - 1, 1)
    assert "fraud:9.9.9: model fraud:9.9.9: not in" in _refused(found)


def test_what_the_model_failed_for_is_taken_as_given(decisions: pa.RecordBatch) -> None:
    failed = {
        "score": float("nan"), "decision": "REVIEW", "reasons": ["MODEL_ERROR"],
        "model_outcome": None, "explanations": [],
    }  # fmt: skip
    found = compared(altered(decisions, 7, **failed))
    assert (found.differing, found.given) == (0, {"MODEL_ERROR": 1})
    # Its outcome is the bundle's, and it has no score.
    found = compared(altered(decisions, 7, **(failed | {"decision": "APPROVE"})))
    assert found.fields == {"decision": 1}
    found = compared(altered(decisions, 7, **(failed | {"score": 0.5})))
    assert found.fields == {"score": 1}
    # JSON has no NaN.
    assert found.examples[0]["recomputed"] == "nan"
    json.dumps(found.as_record(), allow_nan=False)


def test_flags_are_respected_and_counted(decisions: pa.RecordBatch) -> None:
    told = altered(decisions, 7, flags=["late", "fallback", "late_decision"])
    found = compared(altered(told, 8, decided_at=5))
    assert (found.differing, found.given) == (0, {"fallback": 1})


def test_a_let_through_decision_is_compared_by_its_policy(
    decisions: pa.RecordBatch,
) -> None:
    row = row_of(decisions, "BLOCK")
    flags = decisions.column("flags")[row].as_py()
    let = {
        "decision": "APPROVE", "policy_outcome": "BLOCK", "outcome_propensity": 0.01,
        "flags": [*flags, "let_through"],
    }  # fmt: skip
    found = compared(altered(decisions, row, **let))
    assert (found.equal, found.differing) == (len(decisions), 0)
    assert found.given["draws_not_checked"] == 1
    # It could not be drawn: no probability, another outcome, or no flag.
    for wrong in ({"outcome_propensity": 1.0}, {"decision": "REVIEW"}, {"flags": flags},
                  {"policy_outcome": "APPROVE"}):  # fmt: skip
        found = compared(altered(decisions, row, **{**let, **wrong}))
        assert found.fields == {"decision": 1}


def test_only_so_many_differences_are_kept(decisions: pa.RecordBatch) -> None:
    scores = pa.array([0.5] * len(decisions))
    place = decisions.schema.get_field_index("score")
    found = compared(decisions.set_column(place, decisions.schema.field(place), scores))
    assert found.fields["score"] == len(decisions)
    assert len(found.examples) == 50


def test_an_empty_selection_does_not_pass() -> None:
    found = Reproduction("recorded", read=40)
    assert "none of 40 decisions was asked for" in _refused(found)


def test_decisions_are_selected_by_event_time_and_transaction(
    decisions: pa.RecordBatch,
) -> None:
    times = decisions.column("event_time").cast(pa.int64()).to_pylist()
    first, end = times[100], times[300]
    chosen = Question(first_ms=first, end_ms=end).chosen(decisions)
    wanted = [row for row, time in enumerate(times) if first <= time < end]
    assert chosen.column("source_offset").to_pylist() == wanted
    name = decisions.column("transaction_id")[250].as_py()
    one = Question(transaction=name)
    assert one.chosen(decisions).column("source_offset").to_pylist() == [250]
    assert (one.whole, Question(first_ms=first).whole) == (False, True)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "nothing is asked for"),
        ({"first_ms": 5, "end_ms": 5}, "--to is not after --from"),
        ({"first_ms": 5, "warm": "fraud"}, "has no part"),
    ],
)
def test_a_meaningless_question_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Question(**values)


def test_decisions_are_put_aside_by_their_input(decisions: pa.RecordBatch, tmp_path: Path) -> None:
    n = len(decisions)
    offsets = np.arange(n) * 100
    partitions = np.arange(n) % 3
    moved = decisions
    for name, values in (("source_offset", offsets), ("source_partition", partitions)):
        place = moved.schema.get_field_index(name)
        kind = moved.schema.field(place)
        moved = moved.set_column(place, kind, pa.array(values, kind.type))
    spool = Spool(tmp_path)
    # The second half comes first, because another partition of the topic may be read sooner.
    for piece in (moved.slice(n // 2), moved.slice(0, n // 2)):
        spool.add(piece)
    assert spool.partitions == (0, 1, 2)
    assert spool.versions == {FIRST}
    for partition in range(3):
        mine = offsets[partitions == partition]
        assert spool.bounds(partition) == (mine[0], mine[-1] + 1)
        inside = (mine >= 65_000) & (mine < 200_000)
        told = spool.between(partition, 65_000, 200_000).column("source_offset").to_pylist()
        assert told == mine[inside].tolist()
        times = decisions.column("event_time").cast(pa.int64()).to_numpy()
        assert spool.earliest[partition] == times[partitions == partition].min()
    assert len(spool.between(0, 10**9, 10**9 + 5)) == 0


def test_a_decision_of_any_offset_is_found_without_a_search(
    decisions: pa.RecordBatch, tmp_path: Path
) -> None:
    spool = Spool(tmp_path)
    spool.add(
        altered(
            altered(decisions.slice(0, 3), 1, source_offset=2**63 - 1), 2, source_offset=-(2**63)
        )
    )
    first, end = spool.bounds(0)
    assert (first, end) == (-(2**63), 2**63)
    told = spool.between(0, first, end).column("source_offset").to_pylist()
    assert told == [-(2**63), 0, 2**63 - 1]


def test_missing_decisions_count_from_the_complete_part_on(decisions: pa.RecordBatch) -> None:
    # The decisions are in partitions 0 and 1 of the topic.
    half = Published(decisions.slice(10, 500), np.zeros(500, np.int32))
    other = Published(decisions.slice(300, 900), np.ones(900, np.int32))
    seen = Seen("transactions")
    for each in (half, other):
        seen.add(each)
    assert seen.bounds(0) == (10, 1_199)
    # The deleted beginning of partition 1 may have had decisions of the first records.
    shorter = Seen("transactions")
    for each in (half, other):
        shorter.add(dataclasses.replace(each, cut=frozenset({1})))
    assert shorter.bounds(0) == (300, 1_199)


def canary(buckets: int = 5_000, revision: int = 3, **more: Any) -> Routing:
    return Routing(
        revision, {"champion": FIRST, "control": FIRST, "canary": SECOND},
        canary_slices(buckets), salt="s", **more,
    )  # fmt: skip


def test_under_revision_0_the_recorded_version_was_the_champion(decisions: pa.RecordBatch) -> None:
    mixed = altered(decisions, 2, model_version="1.1.0")
    arms = arms_of(mixed, events(), np.zeros(len(mixed), np.int64), None, PLAN.revision)
    assert [arms.versions[at] for at in arms.version[:4]] == [FIRST, FIRST, SECOND, FIRST]
    assert set(arms.arm.to_pylist()) == {"champion"}
    assert (arms.revision, set(arms.propensity)) == (0, {1.0})


def test_a_routing_gives_arm_version_and_propensity(decisions: pa.RecordBatch) -> None:
    flags = np.zeros(len(decisions), np.int64)
    arms = arms_of(decisions, events(), flags, canary(), 0)
    told = arms.arm.to_pylist()
    assert {"canary", "control"} == set(told)
    for arm, version, propensity in zip(told, arms.version, arms.propensity, strict=True):
        assert arms.versions[version] == (SECOND if arm == "canary" else FIRST)
        assert propensity == 0.5
    assert arms.revision == 3
    # The champion decided as the fallback, but the arm is still the canary.
    row = told.index("canary")
    flags[row] = int(Flag.FALLBACK)
    fallen = arms_of(decisions, events(), flags, canary(), 0)
    assert fallen.versions[fallen.version[row]] == FIRST
    assert fallen.arm[row].as_py() == "canary"
    assert np.flatnonzero(fallen.fallback).tolist() == [row]
    # The control has no fallback, because its version is the champion's.
    flags[told.index("control")] = int(Flag.FALLBACK)
    again = arms_of(decisions, events(), flags, canary(), 0)
    assert np.flatnonzero(again.fallback).tolist() == [row]


def test_an_override_has_propensity_one(decisions: pa.RecordBatch) -> None:
    customer = events().records.column("customer_id")[0].as_py()
    routing = canary(overrides=(Override("customer_id", (customer,), "canary"),))
    arms = arms_of(decisions, events(), np.zeros(len(decisions), np.int64), routing, 0)
    assert (arms.arm[0].as_py(), arms.propensity[0]) == ("canary", 1.0)


def test_where_a_revision_begins_is_found_with_few_questions() -> None:
    begins = {400: canary(revision=4), 700: canary(revision=6), 701: canary(revision=9)}
    asked = []

    def routing_at(partition: int, offset: int) -> Routing | None:
        asked.append(offset)
        assert partition == 2
        return next((r for at, r in reversed(begins.items()) if at <= offset), None)

    told = [
        (first, end, None if routing is None else routing.revision)
        for first, end, routing in routings(routing_at, 2, 100, 8_000)
    ]
    assert told == [(100, 400, None), (400, 700, 4), (700, 701, 6), (701, 8_000, 9)]
    assert len(asked) < 80


def test_a_terminal_table_at_an_earlier_watermark_sees_less() -> None:
    from stream_scorer.core.terminals.history import TerminalTable  # noqa: PLC0415 only needed here

    deciding = model("1.1.0")
    delayed = deciding.features.engine.delayed
    day = 86_400_000
    table = TerminalTable()
    times = np.arange(1, 21, dtype=np.int64) * day
    table.add(pa.array(["x"] * 20), times, np.ones(20, np.bool_))
    table.watermark = 20 * day
    at = np.array([27 * day])
    whole, less = (np.zeros((1, deciding.features.engine.width)) for _ in range(2))
    assert not table.observe(delayed, pa.array(["x"]), at, whole)[0]
    earlier = table.as_of(15 * day)
    assert earlier.observe(delayed, pa.array(["x"]), at, less)[0]
    assert (earlier.watermark, table.watermark) == (15 * day, 20 * day)
    columns = delayed.operations[:, 2]
    assert (whole[0, columns] >= less[0, columns]).all()
    assert (whole[0, columns] > less[0, columns]).any()


def test_struct_of_features_is_little_endian(decisions: pa.RecordBatch) -> None:
    value = decisions.column("features")[0].as_py()
    amount = events().records.column("amount_minor")[0].as_py() / 100
    assert struct.unpack_from("<d", value)[0] == amount


def test_an_offset_decided_before_is_reported(decisions: pa.RecordBatch) -> None:
    seen = DecidedOffsets()
    assert seen.again(decisions).tolist() == []
    far = altered(decisions, 2, source_offset=3 << 20)
    assert seen.again(far).tolist() == [row for row in range(len(far)) if row != 2]
    twice = decisions.take(pa.array([4, 1, 4, 4]))
    assert DecidedOffsets().again(twice).tolist() == [2, 3]
    for name, value in (("source_topic", "other"), ("source_partition", 77)):
        assert 5 not in seen.again(altered(decisions, 5, **{name: value})).tolist()


def test_offsets_that_a_stranger_names_take_little_memory(decisions: pa.RecordBatch) -> None:
    n = 3_000
    far = decisions.slice(0, n)
    place = far.schema.get_field_index("source_offset")
    kind = far.schema.field(place)
    far = far.set_column(place, kind, pa.array(np.arange(n) * 2**40, kind.type))
    seen = DecidedOffsets()
    assert seen.again(far).tolist() == []
    assert seen.size == 8 * n
    assert seen.again(far).tolist() == list(range(n))
    # Offsets side by side take a byte each.
    dense = DecidedOffsets()
    for at in range(0, len(decisions), 500):
        assert dense.again(decisions.slice(at, 500)).tolist() == []
    assert dense.size == 65_536
    assert len(dense.again(decisions)) == len(decisions)


def test_decisions_beyond_the_input_are_only_counted(
    decisions: pa.RecordBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = decisions.slice(0, 8)
    changes: list[dict[str, Any]] = [
        {"source_partition": 2**31 - 1}, {"source_partition": -1}, {"source_offset": 2**62},
        {"source_offset": -1}, {"source_offset": 9}, {"source_topic": "other"},
    ]  # fmt: skip
    for row, changed in enumerate(changes):
        forged = altered(forged, row, **changed)
    published = Published(forged, np.zeros(8, np.int32))
    monkeypatch.setattr(run, "recorded", lambda *_: iter([published]))
    monkeypatch.setattr(run, "open_registry", lambda _: None)
    monkeypatch.setattr(run, "bounds", lambda *_: ({0: 0, 1: 0}, {0: 9, 1: 0}))
    found, seen = Reproduction("input"), Seen("transactions")
    question = Question("input", first_ms=0)
    (piece,) = run._asked(Settings(), question, found, lambda *_: None, seen)
    assert piece.column("source_offset").to_pylist() == [5, 6, 7]
    assert piece.column("source_topic").to_pylist() == ["other", *["transactions"] * 2]
    assert (found.chosen, found.unexpected) == (8, 5)
    assert {each["recomputed"] for each in found.examples} == {"no transaction at this offset"}
    assert seen.bounds(0) == (6, 7)


def test_a_duplicate_decision_does_not_pass() -> None:
    found = Reproduction("recorded", read=3, chosen=3, equal=3, doubled=1)
    with pytest.raises(ReproductionError, match="1 are of an offset that has one"):
        found.refuse()


def test_decisions_lost_to_retention_are_reported_by_partition(
    decisions: pa.RecordBatch,
) -> None:
    times = decisions.column("event_time").cast(pa.int64()).to_pylist()
    partition = np.array([2] * 3 + [1] * (len(decisions) - 3), np.int32)
    found = Beginnings({0: 0, 1: 70, 2: 5, 3: 9})
    found.add(Published(decisions.slice(0, 5), partition[:5]))
    found.add(Published(decisions.slice(5), partition[5:]))
    gone = [f"the decisions of partition {p} before offset {n}" for p, n in ((1, 70), (2, 5))]
    # Of an empty partition, no decision's time is known.
    empty = "the decisions of partition 3 before offset 9"
    assert found.removed(None) == [*gone, empty]
    assert found.removed(times[0] - 1) == [*gone, empty]
    assert found.removed(times[0]) == [gone[0], empty]
    assert found.removed(times[3]) == [empty]
    told = Reproduction("input", read=3, chosen=3, equal=3, removed=gone)
    with pytest.raises(ReproductionError, match=r"^retention has removed the decisions of part"):
        told.refuse()
