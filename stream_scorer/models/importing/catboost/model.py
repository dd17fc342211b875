"""From the bytes of a CatBoost JSON file to a model as data."""

from typing import Any, Final

import numpy as np

from stream_scorer.models.importing.catboost.description import read_description
from stream_scorer.models.importing.catboost.document import (
    entries,
    known_keys,
    number_of,
    numbers_of,
    parse_document,
    refuse,
)
from stream_scorer.models.importing.catboost.features import Features, read_features
from stream_scorer.models.importing.catboost.integer_hashes import INTEGER_MOST
from stream_scorer.models.importing.catboost.splits import all_splits
from stream_scorer.models.importing.catboost.trees import Margin, read_trees
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, Parameter
from stream_scorer.models.predictors.parts import (
    After,
    Before,
    Integers,
    Part,
    ScoringModel,
    Sigmoid,
    Table,
)
from stream_scorer.models.predictors.trees import assemble

_SECTIONS: Final = frozenset(
    {"ctr_data", "features_info", "model_info", "oblivious_trees", "scale_and_bias", "trees"}
)


def read_catboost(data: bytes, options: ImportOptions) -> ImportedModel:
    """Read a model that CatBoost saved with ``save_model(file, format="json")``.

    The margin of the model is CatBoost's ``RawFormulaVal``, bit for bit, or its negative if the
    first of two classes is fraud.

    Args:
        data: The file.
        options: The fraud class, if its label is not 1. There are no rounds to choose from: with
            ``use_best_model``, CatBoost removes the trees after the best one from the model.

    Raises:
        ModelError: The file is malformed or too large, or has what cannot be scored exactly.
    """
    if options.missing is not None:
        refuse("only NaN can be missing", "leave the missing value out")
    document = parse_document(data)
    known_keys(document, _SECTIONS, "the file")
    description = read_description(document, options)
    features = read_features(document)
    trees, symmetric = read_trees(document, all_splits(features), description.margin)
    scale, bias = _scale_and_bias(document, description.margin)
    ensemble = assemble(trees, baseline=0.0, feature_count=features.count)
    part = Part(
        _before(features), ensemble, scale=scale, bias=bias, after=_after(description.margin)
    )
    parameters: dict[str, Parameter] = {
        "loss": description.loss,
        "trees": len(trees),
        "symmetric": symmetric,
        "leaves_most": ensemble.leaves_most(),
    }
    if description.iterations is not None:
        parameters["iterations"] = description.iterations
    if description.fraud_class:
        parameters["fraud_class"] = description.fraud_class
    return ImportedModel(
        model=ScoringModel((part,), features.count),
        library="catboost",
        library_version=description.library_version,
        kind="gradient_boosted_trees",
        parameters=parameters,
        feature_names=features.names,
    )


def _before(features: Features) -> tuple[Before, ...]:
    """Return the step that refuses rows which CatBoost would refuse, or whose hash is unknown."""
    columns = [feature.column for feature in features.categories if len(feature.hashes)]
    return (Integers(np.array(columns, np.int64), float(INTEGER_MOST)),) if columns else ()


def _after(margin: Margin) -> tuple[After, ...]:
    """Return the steps from the margin to the probability.

    CatBoost computes the probability of the first of two classes as 1 minus that of the second one.
    """
    if not margin.negated:
        return (Sigmoid(),)
    return (Sigmoid(slope=-1.0), Table(np.array([0.0, 1.0]), np.array([1.0, 0.0])))


def _scale_and_bias(document: dict[str, Any], margin: Margin) -> tuple[float, float]:
    """Return by what the sum of the trees is multiplied, and what is added then."""
    pair = entries(document, "scale_and_bias", "the file")
    if len(pair) != 2:  # noqa: PLR2004 a pair
        refuse(f"scale_and_bias has {len(pair)} items, not 2")
    scale, given = pair
    biases = given if isinstance(given, list) else [given]
    if len(biases) != margin.dimensions:
        refuse(f"scale_and_bias has {len(biases)} biases, not {margin.dimensions}")
    bias = margin.of(numbers_of(biases, "the biases"), "the biases")
    return number_of(scale, "the scale"), float(bias[0])
