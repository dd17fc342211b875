"""Reads a model that LightGBM saved as text."""

import re
from typing import Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, Parameter
from stream_scorer.models.importing.imported.model import TEXT_LONGEST
from stream_scorer.models.importing.lightgbm.number_lists import integer, malformed
from stream_scorer.models.importing.lightgbm.objective import Objective, read_objective
from stream_scorer.models.importing.lightgbm.sections import Sections, divide, printed
from stream_scorer.models.importing.lightgbm.trees import columns
from stream_scorer.models.predictors.parts import Part, ScoringModel
from stream_scorer.models.predictors.rows import FEATURES_MOST
from stream_scorer.models.predictors.trees import CUTS_MOST, TreeEnsemble, assemble, refuse_many

REPORTED: Final = (
    "boosting", "data_sample_strategy", "learning_rate", "num_iterations", "num_leaves",
    "max_depth", "early_stopping_round", "use_missing", "zero_as_missing",
)  # fmt: skip
"""Parameters of the training that become parameters of the imported model."""

PANDAS_BYTES_MOST: Final = 4 << 20
"""Maximum bytes of the categories of pandas tables."""


def read_lightgbm(data: bytes, options: ImportOptions) -> ImportedModel:
    """Return the model in a text file of LightGBM.

    Its margin for a row is, bit for bit, ``predict(row, raw_score=True)`` of the booster that
    LightGBM loads from the same file. For a random forest (``average_output``), that is a sum, and
    the margin is the sum divided by the number of rounds, from which LightGBM computes the
    probability.

    The file has the rounds that ``save_model`` wrote: up to the best one if training was stopped
    early, unless ``num_iteration`` was given. All rounds of the file are used.

    Args:
        data: The file's content.
        options: ``fraud_class`` is the number of a class, and is required for ``multiclassova``;
            ``rounds`` may be ``all``.

    Raises:
        ModelError: The file is malformed or too large, or the model is not supported.
    """
    _judge_options(options)
    file = divide(data)
    header = file.header
    objective = read_objective(
        header.get("objective"),
        header["num_class"],
        header["num_tree_per_iteration"],
        options.fraud_class,
    )
    _judge_pandas_categorical(file.pandas_categorical)
    names = _feature_names(header)
    rounds, incomplete = divmod(len(file.sizes), objective.classes)
    if incomplete:
        raise malformed(
            f"{len(file.sizes)} trees are not a multiple of {objective.classes} classes"
        )
    average = "average_output" in header
    part = Part(
        before=(),
        body=_ensemble(file, objective, len(names)),
        divisor=float(rounds) if average else 1.0,
        after=(objective.after,),
    )
    parameters: dict[str, Parameter] = {
        "format": header["version"].decode(),
        "objective": objective.name,
        "sigmoid": objective.after.slope,
        "rounds": rounds,
        "average_output": average,
    }
    if objective.classes > 1:
        parameters |= {"classes": objective.classes, "fraud_class": objective.chosen}
    parameters |= {
        f"training_{key}": file.parameters[key] for key in REPORTED if key in file.parameters
    }
    return ImportedModel(
        model=ScoringModel((part,), len(names)),
        library="lightgbm",
        library_version="",
        kind="random_forest" if average else "gradient_boosted_trees",
        parameters=parameters,
        feature_names=names,
    )


def _judge_options(options: ImportOptions) -> None:
    if options.rounds == "best":
        raise ModelError(
            "model: the file does not record the best round",
            "import all rounds of the file: save_model writes them up to the best one by default",
        )
    if options.missing is not None:
        raise ModelError(
            "model: it has its own rules for missing values",
            "import it without a missing value",
        )


def _judge_pandas_categorical(text: bytes) -> None:
    """Refuse categories of a pandas table, unless each category is its own code.

    LightGBM replaces the categories of such a table by their places in the list. A row that is
    scored here has the numbers that the trees compare.
    """
    if len(text) > PANDAS_BYTES_MOST:
        raise malformed(f"pandas_categorical is larger than {PANDAS_BYTES_MOST >> 20} MiB")
    lists = [found[1] for found in re.finditer(rb"\[([0-9, ]*+)\]", text)]
    own_codes = [b", ".join(b"%d" % code for code in range(each.count(b",") + 1)) for each in lists]
    plain = b"[" + b", ".join(b"[" + each + b"]" for each in lists) + b"]"
    if text not in {b"null", b"[]"} and not (lists == own_codes and text == plain):
        raise ModelError(
            f"model: it was trained on categories of pandas, {printed(text)}, which only"
            " LightGBM's Python package replaces by codes",
            "give the codes as features, set booster.pandas_categorical = None and save it again",
        )


def _feature_names(header: dict[str, bytes]) -> tuple[str, ...]:
    count = integer("max_feature_idx", header["max_feature_idx"], 0, FEATURES_MOST - 1) + 1
    for key in ("feature_names", "feature_infos"):
        found = header[key].count(b" ") + 1
        if found != count:
            raise malformed(f"{key} has {found} entries, not max_feature_idx + 1 = {count}")
    try:
        names = tuple(header["feature_names"].decode("utf-8").split(" "))
    except UnicodeDecodeError:
        raise malformed("feature_names is not UTF-8") from None
    if not all(0 < len(name) <= TEXT_LONGEST for name in names):
        raise malformed(f"feature_names has a name of 0 or more than {TEXT_LONGEST} characters")
    if len(set(names)) < count:
        raise malformed("feature_names has two equal names")
    return names


def _ensemble(file: Sections, objective: Objective, feature_count: int) -> TreeEnsemble:
    """Return the trees of the chosen class."""
    trees, nodes, cuts = [], 0, 0
    for number, values in file.trees(objective.classes, objective.chosen):
        tree = columns(number, values, feature_count)
        nodes, cuts = nodes + len(tree.feature), cuts + len(tree.cuts)
        refuse_many(nodes)
        if cuts > CUTS_MOST:
            raise ModelError(
                f"model: the trees have more than {CUTS_MOST} cuts",
                "group rare categories before the training",
            )
        trees.append(tree)
    return assemble(trees, baseline=0.0, feature_count=feature_count)
