"""Which objectives give a probability of fraud, and how the sum of such a model starts."""

from typing import Final

import numpy as np

from stream_scorer.models.importing.xgboost.base_margin import logit_margin
from stream_scorer.models.importing.xgboost.fields import Section
from stream_scorer.models.importing.xgboost.number_lists import single
from stream_scorer.models.importing.xgboost.refusals import refuse, shown

_LOGISTIC: Final = ("binary:logistic", "reg:logistic")
_RAW: Final = "binary:logitraw"
_BINARY: Final = "train it with binary:logistic"
_REFUSED: Final = {
    "binary:hinge": "predicts 0 or 1, not a probability",
    "multi:softmax": "predicts a class, not a probability",
    "multi:softprob": "makes a probability of one sum per class, which is not one sum of trees",
    "reg:squarederror": (
        "predicts no probability; XGBoost also writes this name for a custom objective"
    ),
}
_FAMILIES: Final = {
    "reg:": "predicts no probability",
    "count:": "predicts a count, not a probability",
    "rank:": "predicts an order, not a probability",
    "survival:": "predicts a survival time or hazard, not a probability",
}
_LARGEST: Final = 1 << 31


def read_objective(learner: Section) -> str:
    """Return the objective's name.

    Raises:
        ModelError: It is not one that gives a probability of fraud, or there are several classes
            or targets.
    """
    name = learner.section("objective").text("name")
    if name not in (*_LOGISTIC, _RAW):
        family = next((why for start, why in _FAMILIES.items() if name.startswith(start)), None)
        why = _REFUSED.get(name, family)
        if why is None:
            refuse(f"its objective {shown(name)} is unknown or custom", _BINARY)
        refuse(f"its objective {name if name in _REFUSED else shown(name)} {why}", _BINARY)
    parameter = learner.section("learner_model_param")
    if parameter.count("num_class", 0, _LARGEST) > 1:
        refuse(f"it has several classes, but the objective {name}", _BINARY)
    if parameter.has("num_target") and parameter.count("num_target", 0, _LARGEST) > 1:
        refuse("it predicts several targets", "train it with one target")
    return name


def base_margin(learner: Section, objective: str, version: tuple[int, int]) -> np.float32:
    """Return where the sum starts: the margin of ``base_score``, a finite float32.

    ``base_score`` is a number as text, since version 3.1 in brackets: ``"5E-1"``, ``"[5E-1]"``.

    Raises:
        ModelError: It is not one number, or is out of range.
    """
    parameter = learner.section("learner_model_param")
    text = parameter.text("base_score")
    bare = text.strip(" \t\r\n")
    if bare[:1] + bare[-1:] in ("[]", "()"):
        bare = bare[1:-1]
    found = single(bare)
    place = parameter.place("base_score")
    if found is None or not np.isfinite(found):
        refuse(f"{place} is {shown(text)}, not one finite number")
    if objective == _RAW:
        return found
    if not 0 < found < 1:
        refuse(f"{place} is {shown(text)}, not a probability between 0 and 1")
    return logit_margin(found, version)
