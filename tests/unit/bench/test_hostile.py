"""The bench of hostile cases follows its own rules."""

from pathlib import Path
from typing import Any

import pytest

from bench import hostile
from bench.hostile_cases import all_cases, load, mutants
from bench.hostile_cases.case import Case, NotThereError, Place, cut, entry
from bench.hostile_cases.data.decoding import FIELDS, HOSTILE_ID, TRANSACTION, Attack
from bench.hostile_cases.rules import RULES
from bench.hostile_cases.running import run
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema

ROOT = Path(__file__).parents[3]
PAGE = "# T\n\n## Doors\n\nA `door` is\nclosed.\n\n## Walls\n\nHold.\n"


def _case(name: str, do: Any, expected: str = "fine") -> Case:
    return Case(name, 1, "records", expected, do)


def test_the_set_of_cases_is_large_and_covers_each_item_and_door() -> None:
    assert hostile.malformed(all_cases()) == []


def test_every_rule_is_in_the_page_word_for_word_and_has_a_case() -> None:
    assert hostile.undocumented(hostile.PAGE.read_text(encoding="utf-8"), RULES) == []
    assert {case.rule for case in all_cases()} == set(RULES)


def test_a_rule_is_looked_for_in_its_own_section() -> None:
    assert hostile.undocumented(PAGE, {"a": ("Doors", "A door is closed.")}) == []
    assert len(hostile.undocumented(PAGE, {"a": ("Doors", "Hold."), "b": ("Roof", "A")})) == 2


def test_most_doors_were_open_at_cc8b8a8() -> None:
    outcomes = hostile.recorded()["outcomes"]
    assert set(outcomes) == {case.name for case in all_cases()}
    failed = [name for name, each in outcomes.items() if hostile.failed_before(each)]
    assert len(failed) >= hostile.LEAST_FAILED_BEFORE
    kinds = {outcomes[name]["kind"] for name in failed}
    assert {"crashed", "escaped", "stuck", "memory", "returned"} <= kinds


def _crash(_: Place) -> str:
    import ctypes  # noqa: PLC0415 only here

    ctypes.string_at(8)
    return "fine"


def _hold(_: Place) -> str:
    held = bytearray(200 << 20)
    held[::4096] = bytes(len(held[::4096]))
    return "fine"


def _raise(error: BaseException) -> Any:
    def do(_: Place) -> str:
        raise error

    return do


def test_each_end_of_a_case_has_its_kind(tmp_path: Path) -> None:
    cases = {
        "returned": _case("a", lambda _: "fine"),
        "escaped": _case("b", _raise(KeyError("x")), "fine|.*KeyError"),
        "crashed": _case("c", _crash),
        "memory": _case("d", _hold),
        "not there": _case("e", _raise(NotThereError("x")), ".*"),
    }
    found = {each.name: each for each in run(cases.values(), tmp_path, jobs=2)}
    for kind, case in cases.items():
        assert found[case.name].kind == kind
        assert found[case.name].expected == (kind == "returned")


def test_a_text_unlike_the_documented_one_is_not_as_documented(tmp_path: Path) -> None:
    (outcome,) = run([_case("a", lambda _: "otherwise")], tmp_path, jobs=1)
    assert (outcome.kind, outcome.expected) == ("returned", False)


def test_a_missing_entry_is_not_a_failure() -> None:
    with pytest.raises(NotThereError):
        entry("stream_scorer.no_such_module")
    with pytest.raises(NotThereError):
        entry("stream_scorer.errors", "NoSuchError")
    assert not hostile.failed_before({"kind": "not there", "expected": False})


def test_an_outcome_is_shown_in_one_printable_line() -> None:
    assert cut("a\x1b[2J\nb") == "a\\x1b[2J\\x0ab"
    assert len(cut("x" * 10_000)) < 400


def test_the_good_record_has_the_shipped_schemas_fields() -> None:
    named = parse_definition(reader_schema("transaction.v1"), "t").root["fields"]
    assert list(TRANSACTION) == [field["name"] for field in named]
    assert [field["name"] for field in FIELDS] == [
        field["name"] for field in named if "default" not in field
    ]


def test_a_check_is_taken_out_and_nothing_else(tmp_path: Path) -> None:
    text = (
        'def f(a):\n    if (\n        a > 3\n    ):\n        raise ValueError("a")\n    return a\n'
    )
    (tmp_path / "x.py").write_text(text)
    (check,) = mutants.checks(tmp_path, ("x.py", "missing.py"))
    altered = mutants.taken_out(check, text)
    assert altered.count("\n") == text.count("\n")
    found: dict[str, Any] = {}
    exec(altered, found)  # noqa: S102 our own text
    assert found["f"](9) == 9


def test_what_refuses_no_input_is_not_a_check(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "def f(a):\n"
        "    if a > 1:\n        raise a\n"
        '    if a > 2:\n        raise Paused("x")\n'
        "    if a > 3:\n        return OPEN\n"
        "    if a > 4:\n        raise other.BadFile\n"
        "@kernel\ndef g(a):\n"
        "    if a > 5:\n        return CUT_OFF\n"
        "    if a > 6:\n        failed = BRANCH\n"
    )
    found = [check.text for check in mutants.checks(tmp_path, ("x.py",))]
    assert sorted(found) == ["a > 4", "a > 5", "a > 6"]


def test_few_single_checks_are_not_drawn_and_each_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package, others = ROOT / "stream_scorer", dict(mutants.OTHERS)
    drawn = {check.name for check in mutants.checks(package)}
    monkeypatch.setattr(mutants, "OTHERS", {})
    found = {check.name for check in mutants.checks(package)}
    assert found - drawn == set(others)
    assert len(others) <= 10


def test_an_outcome_needs_the_words_of_this_trees_check() -> None:
    case = Case("a", 1, "records", "refused", _raise(ValueError()), words="two .* lengths")
    assert case.answers("refused: two unequal lengths")
    assert not case.answers("refused: cut off")
    assert case.answers("refused: cut off", exactly=False)
    assert not case.answers("two equal lengths", exactly=False)


def test_the_doors_files_have_checks_to_take_out() -> None:
    package = ROOT / "stream_scorer"
    assert [file for file in mutants.FILES if not (package / file).exists()] == []
    assert len(mutants.checks(package)) > 100
    doors = {case.door for case in all_cases()}
    assert {door for each in mutants.FILES.values() for door in each.split(",")} <= doors


def test_missed_gates_are_reported() -> None:
    assert hostile.unnoticed({"taken_out": 20, "noticed": 19, "missed": ["a"]}) == []
    assert len(hostile.unnoticed({"taken_out": 20, "noticed": 18, "missed": ["a", "b"]})) == 2
    good = {"lost": 0, "duplicates": 0, "p99_ratio": 2.0}
    assert load.failures(good) == []
    assert len(load.failures({"lost": 1, "duplicates": 2, "p99_ratio": 2.1})) == 3


def test_every_attack_by_a_record_can_be_sent_to_a_scorer() -> None:
    found = load.attacks()
    assert len(found) > 50
    assert all(isinstance(each, Attack) for each in found)
    values = [each.value() for each in found]
    assert sum(bool(v) and v[1:5] == HOSTILE_ID.to_bytes(4, "big") for v in values if v) > 40
