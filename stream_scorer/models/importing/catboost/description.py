"""What a CatBoost model was trained for: its loss function, its classes, and facts to record."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.models.importing.catboost.document import entry, refuse
from stream_scorer.models.importing.catboost.trees import Margin
from stream_scorer.models.importing.imported.model import TEXT_LONGEST, ImportOptions

_BINARY: Final = ("Logloss", "CrossEntropy", "Focal")
"""Losses with one margin, whose sigmoid is the probability of the second class."""

_ONE_VERSUS_ALL: Final = "MultiClassOneVsAll"
"""The loss with a margin for each class, whose sigmoid is the probability of the class."""

_TEXT_LONGEST: Final = 10_000
_POSITIVE: Final = ("1", "true")
_NEGATIVE: Final = ("-1", "0", "false")
_VERSION: Final = re.compile(r"(?:release |tags/v)(\d{1,4}(?:\.\d{1,4}){1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Description:
    """What a model file states about itself.

    Attributes:
        loss: The loss function.
        fraud_class: The label of the fraud class; empty if the file has no labels.
        margin: Which numbers of a leaf are added to the margin of the fraud class.
        library_version: The version of CatBoost; empty if the file does not state it.
        iterations: How many trees were asked for; None if the file does not state it.
    """

    loss: str
    fraud_class: str
    margin: Margin
    library_version: str
    iterations: int | None


def read_description(document: dict[str, Any], options: ImportOptions) -> Description:
    """Return what a model file states about itself.

    Args:
        document: The model file.
        options: The fraud class, if its label is not 1.

    Raises:
        ModelError: The score of the model is not a probability of fraud, or it is unknown which
            class is fraud.
    """
    info = entry(document, "model_info", dict, "the file")
    if options.rounds == "best" and not _keeps_best(info):
        refuse(
            "the best round is not known, as the file has the trees of all rounds",
            "train with use_best_model=True, or keep all rounds",
        )
    loss = _loss(info)
    labels = _labels(info)
    if loss == _ONE_VERSUS_ALL:
        at = _fraud_class_of_many(labels, options.fraud_class)
        fraud_class, margin = labels[at], Margin(len(labels), at, negated=False)
    elif loss in _BINARY:
        at = _fraud_class_of_two(labels, options.fraud_class)
        fraud_class, margin = labels[at] if labels else "", Margin(1, 0, negated=at == 0)
    elif loss == "MultiClass":
        refuse(
            "the loss MultiClass is not supported: a score depends on the margins of all classes",
            "train it with Logloss, or with MultiClassOneVsAll",
        )
    else:
        refuse(
            f"the loss {quoted(loss)} is not supported",
            f"train it with one of {', '.join((*_BINARY, _ONE_VERSUS_ALL))}",
        )
    return Description(loss, fraud_class, margin, _version(info), _iterations(info))


def _loss(info: dict[str, Any]) -> str:
    """Return the type of the loss function; a sum of models states it in another place."""
    parameters = info.get("params")
    loss = parameters.get("loss_function") if isinstance(parameters, dict) else None
    if loss is None:
        loss = info.get("loss_function")
    if isinstance(loss, str):
        loss = _parsed(loss)
    if not isinstance(loss, dict) or "type" not in loss:
        refuse("model_info does not state the loss function")
    return entry(loss, "type", str, "the loss function")


def _keeps_best(info: dict[str, Any]) -> bool:
    """Return whether training removed the trees after the best one."""
    options = info.get("output_options")
    parsed = _parsed(options) if isinstance(options, str) else None
    return isinstance(parsed, dict) and parsed.get("use_best_model") is True


def _parsed(text: str) -> Any:
    """Return what a JSON text in the file holds; None if it is too long or not JSON."""
    if len(text) > _TEXT_LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _labels(info: dict[str, Any]) -> list[str]:
    """Return the labels of the classes, in the order of the margins; none for CrossEntropy."""
    classes = info.get("class_params")
    if classes is None:
        return []
    if not isinstance(classes, dict):
        refuse(f"model_info: class_params is {quoted(classes)}, not an object")
    names = classes.get("class_names", [])
    order = classes.get("class_to_label", [])
    if not isinstance(names, list) or not all(type(each) in _LABELS for each in names):
        refuse(f"model_info: class_names is {quoted(names)}, not a list of labels")
    labels = [str(each).lower() if type(each) is bool else str(each) for each in names]
    if any(len(label) > TEXT_LONGEST for label in labels):
        refuse(f"a class has a name of more than {TEXT_LONGEST} characters", "shorten the name")
    if labels and order != list(range(len(labels))):
        refuse(f"model_info: class_to_label is {quoted(order)}, not 0, 1, 2, ...")
    if len(set(labels)) < len(labels):
        refuse("model_info: class_names has a label twice")
    return labels


_LABELS: Final = (str, int, float, bool)


def _fraud_class_of_two(labels: list[str], named: str | None) -> int:
    """Return 1 if the positive class is fraud, or 0 if it is the other one."""
    if len(labels) not in (0, 2):
        refuse(f"the loss is for two classes, and the file names {len(labels)}")
    if named is not None:
        if named not in labels:
            refuse(_unknown(labels, named), "name one of them as the fraud class")
        return labels.index(named)
    known = not labels or (labels[0].lower() in _NEGATIVE and labels[1].lower() in _POSITIVE)
    if not known:
        refuse(f"its classes are {_shown(labels)}", "name the fraud class")
    return 1


def _fraud_class_of_many(labels: list[str], named: str | None) -> int:
    if not labels:
        refuse("has several classes, and does not name them")
    if named is None:
        refuse(f"has the classes {_shown(labels)}", "name the fraud class")
    if named not in labels:
        refuse(_unknown(labels, named), "name one of them as the fraud class")
    return labels.index(named)


def _unknown(labels: list[str], named: str) -> str:
    classes = f"its classes are {_shown(labels)}" if labels else "the file names no classes"
    return f"{classes}, and {quoted(named)} is not one of them"


def _shown(labels: list[str]) -> str:
    return quoted(labels)


def _version(info: dict[str, Any]) -> str:
    """Return the version of CatBoost; in a sum of models, that of the first one."""
    for key, value in info.items():
        if key.endswith("catboost_version_info") and isinstance(value, str):
            found = _VERSION.search(value)
            return found[1] if found else ""
    return ""


def _iterations(info: dict[str, Any]) -> int | None:
    parameters = info.get("params")
    boosting = parameters.get("boosting_options") if isinstance(parameters, dict) else None
    iterations = boosting.get("iterations") if isinstance(boosting, dict) else None
    return iterations if type(iterations) is int else None
