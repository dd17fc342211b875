"""What an importer returns, and what a user may tell it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.onnx_session import OnnxModel
from stream_scorer.models.predictors.parts import ScoringModel
from stream_scorer.models.predictors.rows import FEATURES_MOST

PARAMETERS_MOST: Final = 64
"""Maximum parameters of an imported model."""

TEXT_LONGEST: Final = 200
"""Maximum characters of a name or of a parameter's text."""

LIBRARIES: Final = ("catboost", "lightgbm", "onnx", "scikit_learn", "xgboost")
"""The libraries from which models are imported."""


Parameter = str | int | float | bool | None
"""A parameter's value, as in a manifest."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a file alone does not decide.

    Attributes:
        rounds: Whether an early-stopped model scores with its best round or with all; None if the
            user has not chosen.
        fraud_class: The label of the fraud class, for models with other labels than 0 and 1.
        missing: The number that counts as missing, in addition to NaN.
    """

    rounds: Literal["best", "all"] | None = None
    fraud_class: str | None = None
    missing: float | None = None


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model that was read from a file of another library.

    Attributes:
        model: The model.
        library: One of :data:`LIBRARIES`.
        library_version: As the file states it; empty if it does not.
        kind: What it is, e.g. ``gradient_boosted_trees`` or ``random_forest``.
        parameters: Short facts for the manifest, such as the objective and the rounds.
        feature_names: Names of the features in their order; None if the file has none.

    Raises:
        ModelError: A text or a count is too large, or there are not as many names as features.
    """

    model: ScoringModel
    library: str
    library_version: str
    kind: str
    parameters: dict[str, Parameter]
    feature_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _refuse_unless(self.library in LIBRARIES, "an unknown library")
        _refuse_facts(self.parameters, self.library_version, self.kind)
        names = self.feature_names
        if names is not None:
            _refuse_unless(len(names) <= FEATURES_MOST, "too many feature names")
            _refuse_unless(
                len(names) == self.model.feature_count,
                f"{len(names)} feature names for {self.model.feature_count} features",
            )
            _refuse_unless(
                all(len(name) <= TEXT_LONGEST for name in names), "a feature name that is too long"
            )


@dataclass(frozen=True, slots=True)
class ImportedOnnx:
    """A model that was read from an ONNX file, and whose block size was measured.

    Attributes:
        model: The model.
        library_version: Name and version of the program that wrote the file.
        parameters: Short facts for the manifest.
        depends_on: What a row's bits depend on in a larger block, so that a block has one row;
            empty if on nothing.
        kind: What it is.
        library: The library that runs it.
        feature_names: An ONNX file has no names of features.

    Raises:
        ModelError: A text or a count is too large.
    """

    model: OnnxModel
    library_version: str
    parameters: dict[str, Parameter]
    depends_on: str = ""
    kind: str = "onnx"
    library: str = "onnx"
    feature_names: None = None

    def __post_init__(self) -> None:
        _refuse_facts(self.parameters, self.library_version)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """An imported model with the file that it comes from.

    Attributes:
        imported: The model.
        original: The bytes of its library's file.
        ending: The file's ending, such as ``json``.
        scores: The library's own scores of rows of float64[n, m]; None if it is not installed.
    """

    imported: ImportedModel | ImportedOnnx
    original: bytes
    ending: str
    scores: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None


def _refuse_unless(holds: bool, what: str) -> None:  # noqa: FBT001 it is the condition
    if not holds:
        raise ModelError(f"model: it holds {what}", "export the model again")


def _refuse_facts(parameters: dict[str, Parameter], *more: str) -> None:
    texts = [*more, *parameters]
    texts += [value for value in parameters.values() if isinstance(value, str)]
    _refuse_unless(len(parameters) <= PARAMETERS_MOST, "too many parameters")
    _refuse_unless(all(len(text) <= TEXT_LONGEST for text in texts), "a text that is too long")
