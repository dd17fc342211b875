"""The bench of imported models notices what differs, and what is not refused."""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import imports
from bench.imports_steps import attributions, speed
from bench.imports_steps.compare import Outcome, compared, ulps_apart
from bench.imports_steps.example import Example, read, write
from bench.imports_steps.libraries import OLDER, PACKAGES
from bench.imports_steps.unsupported import lightgbm as unsupported
from tests.support.imports import lightgbm_models, scikit_learn_models

NAME = "missing_nan_missing"


@pytest.fixture(scope="module")
def example() -> Example:
    case = lightgbm_models.case(lightgbm_models.configurations()[NAME])
    return Example(
        NAME, "4.7.0", case.text.encode(), b"", case.rows,
        np.stack([case.sums, case.trained_sums]), case.probabilities,
    )  # fmt: skip


def _judged(outcome: Outcome) -> tuple[str, list[str]]:
    document = imports.report({"lightgbm": [outcome]})
    return imports.verdict("lightgbm", outcome), document["unequal"]


def test_an_equal_model_is_counted(example: Example, tmp_path: Path) -> None:
    outcome = compared(example, tmp_path, ("pylignum",))
    assert _judged(outcome) == ("equal", [])
    assert outcome.rows == len(example.rows)
    assert outcome.ulps <= 4
    assert outcome.seconds == (("pylignum", True),)


def test_every_threshold_has_rows_on_it_and_next_to_it(example: Example, tmp_path: Path) -> None:
    outcome = compared(example, tmp_path)
    assert outcome.cuts == outcome.tried > 100
    random = replace(
        example, rows=example.rows[:50], margins=example.margins[:, :50],
        probabilities=example.probabilities[:50],
    )  # fmt: skip
    few = compared(random, tmp_path)
    (line,) = imports.report({"lightgbm": [few]})["untried"]
    assert line.startswith(f"lightgbm 4.7.0: {NAME}: {few.tried} of {few.cuts} thresholds")


def test_a_leaf_that_is_one_ulp_off_is_unequal(example: Example, tmp_path: Path) -> None:
    text = example.model.decode()
    found = re.search(r"(?m)^leaf_value=(\S+)", text)
    assert found is not None
    leaf = repr(float(np.nextafter(float(found[1]), np.inf)))
    changed = text[: found.start(1)] + leaf + text[found.end(1) :]
    # The tree is as long as the file says.
    sizes = re.search(r"(?m)^tree_sizes=(\d+)", changed)
    assert sizes is not None
    size = int(sizes[1]) + len(leaf) - len(found[1])
    changed = changed[: sizes.start(1)] + str(size) + changed[sizes.end(1) :]
    outcome = compared(replace(example, model=changed.encode()), tmp_path)
    assert not outcome.refused
    assert outcome.unequal > 0
    verdict, (line,) = _judged(outcome)
    assert verdict == "unequal"
    assert re.match(rf"lightgbm 4.7.0: {NAME}: \d+ of {outcome.rows} rows differ", line)


def test_one_margin_that_is_one_ulp_off_is_unequal(example: Example, tmp_path: Path) -> None:
    margins = example.margins.copy()
    margins[1, 7] = np.nextafter(margins[1, 7], np.inf)
    assert compared(replace(example, margins=margins), tmp_path).unequal == 1
    exact = replace(example, margins=margins[:0], exact=True)
    probabilities = exact.probabilities.copy()
    probabilities[3] = np.nextafter(probabilities[3], 1)
    assert compared(exact, tmp_path).unequal == 0
    assert compared(replace(exact, probabilities=probabilities), tmp_path).unequal == 1


def test_distances_are_in_units_of_float32() -> None:
    expected = np.array([0.25, 1e-3])
    assert ulps_apart(expected, expected) == 0
    assert ulps_apart(expected + np.array([3 * 2.0**-25, 0]), expected) == 3
    far = Outcome("name", "1", 1, 0, 2.5)
    assert imports.verdict("xgboost", far) == "unequal"
    assert imports.verdict("lightgbm", far) == "equal"
    assert imports.verdict("xgboost", replace(far, ulps=float("nan"))) == "unequal"


def test_refusals_are_counted_if_they_name_the_cause(example: Example, tmp_path: Path) -> None:
    found = {each.name: compared(each, tmp_path) for each in unsupported.examples()}
    assert len(found) >= 10
    assert {_judged(each)[0] for each in found.values()} == {"refused"}
    document = imports.report({"lightgbm": list(found.values())})
    assert document["refused"] == {"lightgbm": len(found)}
    assert document["configurations"] == 0
    named = replace(found["linear trees"], named=False)
    assert _judged(named)[0] == "refused without a name"
    accepted = compared(replace(example, refusal="linear"), tmp_path)
    assert _judged(accepted) == ("not refused", [f"lightgbm 4.7.0: {NAME}: not refused"])
    broken = compared(replace(example, model=example.model[:-500]), tmp_path)
    verdict, (line,) = _judged(broken)
    assert verdict == "refused although it is supported"
    assert line.endswith(broken.refused)


def test_an_example_is_read_as_it_was_written(example: Example, tmp_path: Path) -> None:
    whole = replace(example, rounds="best", missing=-1.0, refusal="x", other_model=b"\0\1")
    write(whole, tmp_path / "example.npz")
    again = read(tmp_path / "example.npz")
    for name in Example.__dataclass_fields__:
        before, after = getattr(whole, name), getattr(again, name)
        assert type(before) is type(after)
        assert np.asarray(before).tobytes() == np.asarray(after).tobytes()


@pytest.mark.parametrize(
    "name", ["forest, depth 3, ties", "RobustScaler(), hist boosting", "one calibration"]
)
def test_models_of_scikit_learn_are_compared(name: str, tmp_path: Path) -> None:
    made = scikit_learn_models.example(scikit_learn_models.configurations()[name])
    margins = np.zeros((0, 0)) if made.sums is None else made.sums[None]
    outcome = compared(
        Example(
            name, "", made.file, b"", made.rows, margins, made.probabilities,
            exact=made.sums is None,
        ),
        tmp_path,
    )  # fmt: skip
    assert imports.verdict("scikit_learn", outcome) == "equal"
    assert outcome.cuts == outcome.tried


def test_there_are_enough_configurations_and_versions() -> None:
    assert len(scikit_learn_models.configurations()) >= imports.LEAST_EACH
    assert all(len(older) + 1 >= imports.LEAST_VERSIONS for older in OLDER.values())
    pins = [pin for older in OLDER.values() for pins in older.values() for pin in pins.split()]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", pin) for pin in pins)


def _bits(**changes: Any) -> dict[str, Any]:
    each = dict.fromkeys(PACKAGES, 60)
    return {
        "configurations": 300, "configurations_by_library": each, "equal": each, "refused": each,
        "unequal": [], "untried": [], "ulps": dict(imports.MOST_ULPS),
        "versions": {name: ["3", "2", "1"] for name in each}, **changes,
    }  # fmt: skip


def test_each_gate_of_the_bits_fails_by_name() -> None:
    assert imports.failures(_bits(), quick=False) == []
    for changes, word in (
        ({"configurations": 299}, "299 configurations"),
        ({"configurations_by_library": {**_bits()["equal"], "catboost": 49}}, "catboost: 49 conf"),
        ({"versions": {**_bits()["versions"], "xgboost": ["3", "2"]}}, "xgboost: 2 versions"),
        ({"ulps": {**imports.MOST_ULPS, "xgboost": 3}}, "xgboost: probabilities differ by 3 ulp"),
        ({"refused": {**_bits()["refused"], "lightgbm": 0}}, "lightgbm: 0 models are refused"),
        ({"unequal": ["a line"]}, "a line"),
        ({"untried": ["a line"]}, "a line"),
    ):
        (line,) = imports.failures(_bits(**changes), quick=False)
        assert line.startswith(word)


def _shape(ours: float) -> dict[str, Any]:
    taken = {"ours": ours, "LightGBM": 8.0, "pylignum": 7.0, "pylignum compiled": 1.0}
    return speed.shown("lightgbm", speed.Shape(100, 31, 10), taken)


def test_ours_is_compared_with_the_fastest_that_is_judged() -> None:
    assert (_shape(3.5)["best"], _shape(3.5)["ratio"]) == ("pylignum", 2.0)
    single = {"library": "xgboost", "features": 10, "microseconds": 10.0}
    document = speed.report([_shape(3.5), _shape(10.0)], [single])
    assert document["geometric_mean"] == {"lightgbm": round((2 * 0.7) ** 0.5, 3)}
    assert speed.failures(document) == []
    slow = speed.report([_shape(10.1)], [{**single, "microseconds": 10.01}])
    words = (
        "the geometric mean is 0.693",
        "pylignum, must be at least 0.7",
        "a single row takes 10.01 µs",
    )
    assert all(word in line for word, line in zip(words, speed.failures(slow), strict=True))


@pytest.mark.thorough
def test_a_contender_that_cannot_win_has_few_rounds() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.02)

    found = speed.timed({"fast": lambda: calls.append("fast"), "slow": slow}, 5)
    assert {name: len(each) for name, each in found.items()} == {"fast": 5, "slow": 3}
    assert (calls.count("fast"), calls.count("slow")) == (6, 4)


def test_agreement_of_reasons() -> None:
    ours = np.array([[3.0, 2.0, 1.0, 0.0, -9.0]])
    assert attributions.agreement(ours, 2 * ours) == {
        "same_first": 1.0, "shared": 1.0, "rank_correlation": 1.0
    }  # fmt: skip
    other = np.array([[1.0, 2.0, 3.0, 2.5, 9.0]])
    assert attributions.agreement(ours, other) == {
        "same_first": 0.0, "shared": 0.333, "rank_correlation": -1.0
    }  # fmt: skip
    flat = attributions.agreement(ours, np.zeros((1, 5)))
    assert flat["rank_correlation"] == 0


@pytest.mark.thorough
def test_the_quick_form_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["imports", "--quick", "--json"])
    assert imports.main() == 0, capsys.readouterr().err


@pytest.mark.thorough
def test_path_attributions_and_shap_values_add_up_to_the_margin() -> None:
    found = attributions.compare(10, 10, 20)
    assert attributions.failures(found) == []
    assert set(found["remainder"]) == {"ours", *attributions.WAYS}
    assert 0 < found["tree_path_dependent"]["shared"] <= 1
    found["remainder"]["ours"] = 1e-8
    (line,) = attributions.failures(found)
    assert line.startswith("attributions: ours: 1e-08 remains")
