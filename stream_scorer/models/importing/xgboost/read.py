"""From the bytes of an XGBoost model to a scoring model with the same sums, bit for bit."""

import math
from typing import Final

import numpy as np

from stream_scorer.models.importing.imported import ImportedModel, ImportOptions, Parameter
from stream_scorer.models.importing.xgboost.booster import Booster, read_booster, read_trees
from stream_scorer.models.importing.xgboost.fields import Section, section_of
from stream_scorer.models.importing.xgboost.json_document import read_json
from stream_scorer.models.importing.xgboost.number_lists import single
from stream_scorer.models.importing.xgboost.objectives import base_margin, read_objective
from stream_scorer.models.importing.xgboost.refusals import refuse, shown
from stream_scorer.models.importing.xgboost.rounds import Rounds, read_rounds
from stream_scorer.models.importing.xgboost.trees import CATEGORIES_MOST
from stream_scorer.models.importing.xgboost.ubj_document import read_ubj
from stream_scorer.models.importing.xgboost.values import BYTES_MOST, Value
from stream_scorer.models.predictors.parts import MissingValue, Part, ScoringModel, SingleSigmoid
from stream_scorer.models.predictors.rows import FEATURES_MOST
from stream_scorer.models.predictors.trees import assemble

OLDEST: Final = (1, 7, 3)
"""Before this version, unknown categories went to a split's default side."""
NEWEST: Final = (3, 4)
"""The newest version whose sums were compared; a later one may add in another order."""
_KNOWN_VERSIONS: Final = "load it with XGBoost 1.7.3 to 3.4 and save it again with save_model"


def read_xgboost(data: bytes, options: ImportOptions) -> ImportedModel:
    """Read a model that XGBoost saved as JSON or UBJ.

    The scores' sums are those of ``Booster.inplace_predict(rows, predict_type="margin")`` of the
    version that wrote the file, for float64 rows and one thread.

    Args:
        data: The file.
        options: ``rounds`` is required if training was stopped later than the best round.
            ``missing`` is a number that counts as missing, in addition to NaN. ``fraud_class`` is
            refused: these models have no class to name.

    Raises:
        ModelError: The file is malformed, or its model cannot be scored bit for bit.
    """
    document = section_of(_document(data), "")
    version = _version(document)
    learner = document.section("learner")
    booster = read_booster(learner, version[:2])
    objective = read_objective(learner)
    if options.fraud_class is not None:
        refuse(f"its objective {objective} has no classes to name", "leave --fraud-class out")
    parameter = learner.section("learner_model_param")
    feature_count = parameter.count("num_feature", 1, FEATURES_MOST)
    names = _feature_names(learner, feature_count)
    _check_frame_categories(booster.model)
    start = base_margin(learner, objective, version[:2])
    rounds = read_rounds(learner, booster.model, options)
    trees = read_trees(
        booster,
        rounds,
        feature_count=feature_count,
        start=start,
        version=version[:2],
    )
    forest = rounds.in_file == 1 and rounds.trees > 1
    ensemble = assemble(trees, baseline=float(start), feature_count=feature_count, single=True)
    return ImportedModel(
        model=ScoringModel(
            parts=(
                Part(before=_missing(options.missing), body=ensemble, after=(SingleSigmoid(),)),
            ),
            feature_count=feature_count,
        ),
        library="xgboost",
        library_version=".".join(map(str, version)),
        kind="random_forest" if forest else "gradient_boosted_trees",
        parameters=_facts(objective, booster, rounds, options),
        feature_names=names,
    )


def _document(data: bytes) -> Value:
    """Return the document of a file in either format; the first bytes tell them apart."""
    if len(data) > BYTES_MOST:
        refuse(f"it has {len(data):,} bytes, more than {BYTES_MOST:,}", "train a smaller model")
    start = data[:64].lstrip(b" \t\r\n")
    if start.startswith(b"{L"):
        return read_ubj(data)
    if start.startswith(b"{"):
        return read_json(data)
    if start.startswith(b"["):
        refuse("this is a dump of trees, not a model")
    if start.startswith(b"\x80"):
        refuse("this is a pickle file, which is never loaded")
    return refuse("it is neither JSON nor UBJ; the binary format of old versions is not supported")


def _version(document: Section) -> tuple[int, int, int]:
    """Return the version of XGBoost that wrote the file."""
    if document.has("Model") and document.has("Config"):
        refuse("this is the internal state of a Booster (serialize), not a model")
    major, minor, patch = document.integers("version", 3).tolist()
    known = (major, minor, patch) >= OLDEST and (major, minor) <= NEWEST
    if not known or not 0 <= patch < 1 << 16:
        refuse(
            f"it was saved by XGBoost {major}.{minor}.{patch}, which is not known", _KNOWN_VERSIONS
        )
    return major, minor, patch


def _feature_names(learner: Section, feature_count: int) -> tuple[str, ...] | None:
    """Return the features' names in their order; None if the file has none."""
    names = learner.texts("feature_names") if learner.has("feature_names") else ()
    if not names:
        return None
    if len(names) != feature_count:
        refuse(f"it has {len(names):,} feature names, but {feature_count:,} features")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            refuse(f"the feature name {shown(name)} occurs twice")
        seen.add(name)
    return names


def _check_frame_categories(model: Section) -> None:
    """Refuse categories of a data frame unless they are their own positions: 0, 1, 2, ...

    Since version 3.1, XGBoost replaces the values of a data frame by their positions in a list of
    the file. If the list is not 0, 1, 2, ..., a row of the stream would have to hold positions
    instead of values, and nothing would show it.
    """
    if not model.has("cats"):
        return
    lists = model.section("cats")
    for number, column in enumerate(lists.values("enc")):
        names = section_of(column, f"{lists.place('enc')}[{number}]")
        count = names.length("values")
        if count == 0:
            continue
        kind = "texts" if names.has("offsets") else "numbers"
        if kind == "numbers" and count <= CATEGORIES_MOST:
            positions = np.arange(count)
            kind = "" if np.array_equal(names.integers("values"), positions) else kind
        if kind:
            refuse(
                f"feature {number + 1} has {kind} of a data frame as categories, which XGBoost "
                "replaces by their positions",
                "train it on the positions 0, 1, 2, ... and give these to the stream",
            )


def _missing(value: float | None) -> tuple[MissingValue, ...]:
    """Return the step for a number that counts as missing; XGBoost rounds it to float32."""
    if value is None or math.isnan(value):
        return ()
    rounded = np.float32(value) if math.isinf(value) else single(repr(float(value)))
    if rounded is None or math.isinf(rounded) != math.isinf(value):
        refuse(f"the missing value {value!r} is not a float32 number", "give another number")
    return (MissingValue(float(rounded), single=True),)


def _facts(
    objective: str, booster: Booster, rounds: Rounds, options: ImportOptions
) -> dict[str, Parameter]:
    """Return what the manifest records about the model."""
    facts: dict[str, Parameter] = {
        "objective": objective,
        "booster": booster.name,
        "rounds": rounds.used,
        "rounds_in_file": rounds.in_file,
        "trees": rounds.trees,
    }
    if options.missing is not None and not math.isnan(options.missing):
        facts["missing"] = options.missing
    return facts
