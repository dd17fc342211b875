import json
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.formats.known import read_source
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, ModelSource
from stream_scorer.models.predictors.parts import Sigmoid, Table
from stream_scorer.models.predictors.trees import TreeEnsemble
from tests.support.imports.catboost_hostile import Document, encoded, other, split, symmetric


def read(document: Document, **options: Any) -> ImportedModel:
    return read_catboost(encoded(document), ImportOptions(**options))


def with_info(**changes: Any) -> Document:
    document = symmetric()
    document["model_info"] |= changes
    return document


def classes(*names: object) -> Document:
    order = list(range(len(names)))
    return with_info(class_params={"class_names": names, "class_to_label": order})


def trees(model: ImportedModel) -> TreeEnsemble:
    body = model.model.parts[0].body
    assert isinstance(body, TreeEnsemble)
    return body


def test_what_a_file_states_is_recorded() -> None:
    read_model = read(symmetric())
    assert read_model.library == "catboost"
    assert read_model.library_version == "1.2.10"
    assert read_model.kind == "gradient_boosted_trees"
    assert read_model.parameters == {
        "loss": "Logloss", "trees": 2, "symmetric": True, "leaves_most": 4, "fraud_class": "1",
    }  # fmt: skip
    boosting = {"loss_function": {"type": "Focal"}, "boosting_options": {"iterations": 500}}
    assert read(with_info(params=boosting)).parameters["iterations"] == 500
    assert read(other()).parameters["symmetric"] is False
    assert read(with_info(catboost_version_info="none")).library_version == ""
    assert read(with_info(catboost_version_info=7)).library_version == ""


def test_the_file_is_recognised_by_its_first_key(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    path.write_bytes(encoded(symmetric()))
    source = read_source(path, ImportOptions())
    assert isinstance(source, ModelSource)
    assert (source.imported.library, source.ending) == ("catboost", "json")


def test_a_sum_of_models_states_its_loss_in_a_text() -> None:
    document = symmetric()
    loss = json.dumps({"type": "CrossEntropy", "params": {}})
    document["model_info"] = {
        "loss_function": loss, "model0:catboost_version_info": "CatBoost release 1.1.1\n",
    }  # fmt: skip
    read_model = read(document)
    assert read_model.parameters["loss"] == "CrossEntropy"
    assert read_model.library_version == "1.1.1"
    assert "fraud_class" not in read_model.parameters


@pytest.mark.parametrize(
    "names", [(0, 1), (False, True), ("0", "1"), (-1, 1), ("False", "True"), ()]
)
def test_class_one_is_fraud(names: tuple[object, ...]) -> None:
    model = read(classes(*names))
    assert model.model.parts[0].after == (Sigmoid(),)
    assert trees(model).value[3:7].tolist() == [0.5, -0.25, 0.125, 1.0]


@pytest.mark.parametrize(
    ("names", "fraud_class"), [((0, 1), "0"), (("fraud", "genuine"), "fraud"), ((1, 0), "1")]
)
def test_the_first_class_may_be_fraud(names: tuple[object, ...], fraud_class: str) -> None:
    document = classes(*names)
    document["scale_and_bias"] = [2, [0.75]]
    model = read(document, fraud_class=fraud_class)
    (part,) = model.model.parts
    assert trees(model).value[3:7].tolist() == [-0.5, 0.25, -0.125, -1.0]
    assert (part.scale, part.bias) == (2.0, -0.75)
    complement = part.after[1]
    assert part.after[0] == Sigmoid(slope=-1.0)
    assert isinstance(complement, Table)
    assert (complement.x.tolist(), complement.y.tolist()) == ([0.0, 1.0], [1.0, 0.0])


def test_the_second_class_may_be_named() -> None:
    model = read(classes("bad", "good"), fraud_class="good")
    assert model.parameters["fraud_class"] == "good"
    assert model.model.parts[0].after == (Sigmoid(),)


def test_one_class_of_several_is_chosen() -> None:
    document = classes("a", "b", "c")
    document["model_info"]["params"]["loss_function"]["type"] = "MultiClassOneVsAll"
    document["oblivious_trees"] = [
        {"leaf_values": [1, 2, 3, 4, 5, 6], "splits": [split(0, 0.5, 0)]},
    ]
    document["scale_and_bias"] = [1, [0.5, 0.25, 0.125]]
    for at, name in enumerate("abc"):
        model = read(document, fraud_class=name)
        assert trees(model).value[1:].tolist() == [1 + at, 4 + at]
        assert model.model.parts[0].bias == 0.5 / 2**at
    with pytest.raises(ModelError, match="name the fraud class"):
        read(document)


def test_the_bias_may_be_a_number() -> None:
    document = symmetric()
    document["scale_and_bias"] = [0.5, -1.25]
    (part,) = read(document).model.parts
    assert (part.scale, part.bias) == (0.5, -1.25)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("", ""), None),
        (("0", "1"), None),
        (("a", ""), ("a", "")),
        (("1", "0"), ("1", "0")),
        (("amount", "ü\n"), ("amount", "ü\n")),
    ],
)
def test_names_of_features(names: tuple[str, str], expected: tuple[str, str] | None) -> None:
    document = symmetric()
    for feature, name in zip(document["features_info"]["float_features"], names, strict=True):
        feature["feature_id"] = name
    assert read(document).feature_names == expected
    # CatBoost 1.0 has no feature_id.
    for feature in document["features_info"]["float_features"]:
        feature["feature_name"] = feature.pop("feature_id")
    assert read(document).feature_names == expected
    for feature in document["features_info"]["float_features"]:
        del feature["feature_name"]
    assert read(document).feature_names is None


def test_a_text_is_parsed_up_to_its_limit() -> None:
    loss = json.dumps({"type": "Logloss"}).ljust(10_000)
    assert read(with_info(params={"loss_function": loss})).parameters["loss"] == "Logloss"
    with pytest.raises(ModelError, match="does not state the loss function"):
        read(with_info(params={"loss_function": f"{loss} "}))


def test_the_rounds_are_those_in_the_file() -> None:
    parameters = read(symmetric()).parameters
    assert read(symmetric(), rounds="all").parameters == parameters
    for best in (True, False):
        document = with_info(output_options=json.dumps({"use_best_model": best}))
        assert read(document, rounds="all").parameters == parameters
        if best:
            assert read(document, rounds="best").parameters == parameters
        else:
            with pytest.raises(ModelError, match="the best round is not known"):
                read(document, rounds="best")
