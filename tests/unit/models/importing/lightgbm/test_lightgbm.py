from pathlib import Path

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.formats.known import read_source
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, ModelSource
from stream_scorer.models.importing.lightgbm import read as read_module
from stream_scorer.models.importing.lightgbm.read import read_lightgbm
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import TreeEnsemble
from tests.support.imports import lightgbm_models
from tests.support.imports.compare_lightgbm import compare
from tests.support.imports.hostile_lightgbm import MODEL, OF_CLASSES, TREE, sized
from tests.support.imports.lightgbm_cases import Case, read, save
from tests.support.models.reference_model import reference_raw

CONFIGURATIONS = lightgbm_models.configurations()
QUICK = (
    "missing_nan_missing", "missing_zero_zeros", "missing_none_tiny", "categories_sparse_zero",
    "forest", "class_1_of_three", "stopped_best", "constant_labels",
)  # fmt: skip
PROBABILITY_ULPS_MOST = 4


def imported(text: str, fraud_class: str | None = None) -> ImportedModel:
    return read_lightgbm(text.encode(), ImportOptions(fraud_class=fraud_class))


def ensemble(model: ImportedModel) -> TreeEnsemble:
    body = model.model.parts[0].body
    assert isinstance(body, TreeEnsemble)
    return body


def compared(case: Case) -> None:
    found = compare(case)
    assert found.rows == len(case.rows)
    assert found.unequal == 0
    assert found.ulps <= PROBABILITY_ULPS_MOST


def test_the_cuts_of_all_trees_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sized(MODEL).decode()
    cuts = len(ensemble(imported(text)).cuts)
    monkeypatch.setattr(read_module, "CUTS_MOST", cuts)
    imported(text)
    monkeypatch.setattr(read_module, "CUTS_MOST", cuts - 1)
    with pytest.raises(ModelError, match=f"the trees have more than {cuts - 1} cuts"):
        imported(text)


@pytest.mark.parametrize("name", QUICK)
def test_margins_are_the_bits_of_lightgbm(name: str) -> None:
    compared(lightgbm_models.case(CONFIGURATIONS[name], 2_000))


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(set(CONFIGURATIONS) - set(QUICK)))
def test_every_configuration_has_the_bits_of_lightgbm(name: str) -> None:
    compared(lightgbm_models.case(CONFIGURATIONS[name]))


def test_rows_on_both_sides_of_every_cut_are_compared() -> None:
    case = lightgbm_models.case(CONFIGURATIONS["missing_nan_missing"], 50_000)
    trees = ensemble(imported(case.text))
    inner = np.flatnonzero(trees.feature >= 0)
    at = zip(trees.feature[inner], trees.cuts, strict=True)
    for feature, cut in at:
        column = case.rows[:, feature]
        assert (column == cut).any()
        assert (column == np.nextafter(cut, np.inf)).any()


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    case = lightgbm_models.case(CONFIGURATIONS["class_1_of_three"], 100)
    save(tmp_path / "case.npz", case)
    again = read(tmp_path / "case.npz")
    assert (again.text, again.fraud_class) == (case.text, "1")
    assert again.rows.tobytes() == case.rows.tobytes()
    for name in ("sums", "trained_sums", "probabilities"):
        assert getattr(again, name).tobytes() == getattr(case, name).tobytes()


def test_a_comparison_finds_a_row_that_differs_by_one_step() -> None:
    case = lightgbm_models.case(CONFIGURATIONS["missing_nan_missing"], 100)
    case.trained_sums[3] = np.nextafter(case.trained_sums[3], np.inf)
    assert compare(case).unequal == 1


def test_the_slow_reference_model_has_the_same_margins() -> None:
    case = lightgbm_models.case(CONFIGURATIONS["categories_sparse_zero"], 100)
    some = case.rows[:: len(case.rows) // 60]
    model = imported(case.text).model
    assert np.array_equal(ScoringPredictor(model).raw(some), reference_raw(model, some))


def test_a_file_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(sized(MODEL))
    found = read_source(path, ImportOptions())
    assert isinstance(found, ModelSource)
    assert (found.imported.library, found.ending) == ("lightgbm", "txt")
    path.write_bytes(sized(MODEL.replace("num_leaves=4", "num_leaves=5", 1)))
    with pytest.raises(ModelError, match=f"^model {path}: leaf_value of tree 0 has 4"):
        read_source(path, ImportOptions())


def test_the_manifest_gets_names_and_facts() -> None:
    model = imported(sized(MODEL).decode())
    assert model.feature_names == ("amount", "hour", "größe")
    assert (model.library, model.library_version) == ("lightgbm", "")
    assert model.kind == "gradient_boosted_trees"
    assert model.parameters == {
        "format": "v4", "objective": "binary", "sigmoid": 1.0, "rounds": 2,
        "average_output": False, "training_boosting": "gbdt", "training_learning_rate": "0.1",
    }  # fmt: skip


def test_names_are_taken_as_the_file_has_them() -> None:
    text = MODEL.replace("=amount hour größe", '=a=b c\\u0064 "e\tf\u2028"')
    assert imported(sized(text).decode()).feature_names == ("a=b", "c\\u0064", '"e\tf\u2028"')


def test_all_rounds_of_the_file_may_be_asked_for() -> None:
    data = sized(MODEL)
    for options in (ImportOptions(rounds="all"), ImportOptions(fraud_class="1")):
        assert read_lightgbm(data, options).parameters["rounds"] == 2


def test_the_mean_of_a_forest_is_divided_by_its_rounds() -> None:
    text = MODEL.replace("label_index", "average_output\nlabel_index")
    model = imported(sized(text).decode())
    assert model.model.parts[0].divisor == 2
    assert model.kind == "random_forest"


def test_categories_of_pandas_that_are_their_codes_are_accepted() -> None:
    for value in ("[]", "[[0]]", "[[0, 1, 2], [0, 1]]"):
        text = MODEL.replace("pandas_categorical:null", f"pandas_categorical:{value}")
        assert imported(sized(text).decode()).parameters["rounds"] == 2


def test_only_the_trees_of_the_fraud_class_are_taken() -> None:
    third = TREE.format(number=2).replace("leaf_value=0.25", "leaf_value=0.75")
    text = OF_CLASSES.decode().replace("end of trees", third + "end of trees")
    sizes = f"tree_sizes={' '.join([str(len(TREE.format(number=0)))] * 3)}"
    lines = [sizes if line.startswith("tree_sizes=") else line for line in text.split("\n")]
    model = imported("\n".join(lines), "2")
    assert ensemble(model).value.max() == 0.75
    assert model.parameters["classes"] == 3
    assert model.parameters["fraud_class"] == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("0.123457", 0.123457), ("1e-05", 1e-5), ("2.5e+06", 2.5e6), ("12.3457", 12.3457)],
)
def test_a_sigmoid_is_read_within_one_step(text: str, value: float) -> None:
    model = imported(sized(MODEL.replace("sigmoid:1", f"sigmoid:{text}")).decode())
    slope = model.parameters["sigmoid"]
    assert isinstance(slope, float)
    assert abs(slope - value) <= np.spacing(value)


def test_the_base_of_attributions_is_lightgbms_expected_value() -> None:
    booster, rows = lightgbm_models.train(CONFIGURATIONS["categories_sparse_zero"])
    trees = ensemble(imported(booster.model_to_string()))
    expected = np.asarray(booster.predict(rows[:1], pred_contrib=True))[0, -1]
    assert trees.value[trees.roots].sum() == pytest.approx(expected, rel=1e-9)


def test_the_cover_of_a_node_is_the_rows_of_its_leaves() -> None:
    trees = ensemble(imported(sized(MODEL).decode()))
    assert trees.cover[:7].tolist() == [100, 40, 60, 10, 20, 30, 40]
    assert trees.value[0] == pytest.approx((10 * 0.25 - 20 * 0.125 + 30 * 0.0625 + 0.04) / 100)


@pytest.mark.parametrize(
    ("parameters", "labels", "reason"),
    [
        ({"linear_tree": True}, "noisy", "has linear models in its leaves"),
        ({"objective": "multiclass", "num_class": 3}, "classes", "whose classes share one softmax"),
        ({"objective": "regression"}, "soft", "which gives a number, not a probability"),
        ({"objective": "cross_entropy_lambda"}, "soft", "which gives an intensity"),
    ],
)
def test_a_model_of_an_unsupported_kind_is_refused_by_name(
    parameters: dict[str, object], labels: str, reason: str
) -> None:
    configuration = lightgbm_models.Configuration(parameters, labels=labels, rounds=3)
    booster, _ = lightgbm_models.train(configuration)
    with pytest.raises(ModelError, match=reason):
        imported(booster.model_to_string())
