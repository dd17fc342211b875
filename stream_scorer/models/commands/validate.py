"""Score a bundle's golden rows again with the libraries of this environment.

The sums of a bundle of format 2 must have the same bits with any libraries, and the scores of an
ONNX model with the installed version of ONNX Runtime. A scorer only loads a
bundle of format 1 under the scikit-learn version with which it was made. Here another version may
load it, to find out before an upgrade whether it changes a decision. With the bundle's libraries
the predictor's sums must have the same bits; with others no decision may change.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.policy import decide
from stream_scorer.core.features.engines import ENGINES
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.models.bundles.loader import (
    bundle_predictor,
    check_engine,
    model_of,
    needed_files,
)
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.bundles.verify_files import read_seal
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import Settings

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Validation:
    """The results of scoring golden rows here.

    Attributes:
        model: NAME:VERSION.
        rows: Number of golden rows.
        same_libraries: Whether scikit-learn, skops and numpy have the bundle's versions; for a
            bundle of format 2 always.
        made_with: The bundle's libraries; for a bundle of format 2 none, or ONNX Runtime.
        installed: Those of this environment, with Python and processor.
        raw_equal: Number of rows whose raw score (log-odds of boosting, mean of a forest, a linear
            sum) has the same bits.
        scores_equal: Number of rows whose score has the same bits as scikit-learn's at training;
            for an engine with its own exponential, as our own then.
        exact: Whether all scores must have the same bits, as such an engine guarantees.
        largest_difference: Largest difference of a score.
        flips: Number of rows with another decision.
    """

    model: str
    rows: int
    same_libraries: bool
    made_with: dict[str, str]
    installed: dict[str, str]
    raw_equal: int
    scores_equal: int
    exact: bool
    largest_difference: float
    flips: int

    @property
    def promise(self) -> str:
        """What is guaranteed: ``bits`` with the bundle's libraries, ``decisions`` with others."""
        return "bits" if self.same_libraries else "decisions"

    @property
    def broken(self) -> str:
        """Why the guarantee does not hold; empty if it does."""
        if self.flips:
            return f"{self.flips} of {self.rows} golden rows are decided otherwise"
        if self.same_libraries and self.raw_equal < self.rows:
            made = [
                f"{name} {made}" for name, made in self.made_with.items()
                if made != self.installed[name]
            ]  # fmt: skip
            why = (
                f"the bundle was made with {', '.join(made)}"
                if made
                else "though the libraries are the bundle's"
            )
            return f"{self.rows - self.raw_equal} of {self.rows} golden rows have other bits, {why}"
        if self.exact and self.scores_equal < self.rows:
            return f"{self.rows - self.scores_equal} of {self.rows} golden rows have other bits"
        return ""


def validate(settings: Settings, reference: str) -> Validation:
    """Score a bundle's golden rows again.

    Args:
        settings: The store, and what is trusted.
        reference: NAME or NAME:VERSION.

    Raises:
        ModelError: It is refused because of its files, signature or types, or because the installed
            scikit-learn cannot make a model of its kind from it.
        SettingsError: A trusted key cannot be read.
        UnavailableError: The store does not answer.
    """
    trust = trust_of(settings.models)
    folder = find(open_store(settings.models), reference)
    seal = read_seal(folder, trust)
    manifest = seal.manifest
    check_engine(manifest)
    files = needed_files(folder, seal)
    model = model_of(files.model, manifest, trust.types, whole=False)
    predictor = bundle_predictor(model, manifest)
    rows = golden.read(files.golden, predictor.feature_count, manifest.label)
    scores = predictor.scores(rows.features)
    made = _made_with(manifest)
    here = _installed(manifest)
    return Validation(
        model=manifest.label,
        rows=len(scores),
        same_libraries=manifest.format != 1 or made == here,
        made_with=made,
        installed={**here, "python": platform.python_version(), "machine": platform.machine()},
        raw_equal=_same_bits(predictor.raw(rows.features), rows.raw),
        scores_equal=_same_bits(scores, rows.scores),
        exact=ENGINES[manifest.engine].own_exponential,
        largest_difference=float(np.abs(scores - rows.scores).max()),
        flips=int((decide(scores, manifest.policy) != decide(rows.scores, manifest.policy)).sum()),
    )


def _made_with(manifest: Manifest) -> dict[str, str]:
    """Return the versions of the libraries on which the bits of a bundle's sums depend."""
    if manifest.onnx is not None:
        return {"onnxruntime": str(manifest.parameters.get("onnxruntime", ""))}
    return {} if manifest.libraries is None else manifest.libraries.model_dump()


def _installed(manifest: Manifest) -> dict[str, str]:
    """Return the installed versions of the same libraries, and of numpy."""
    names = ["numpy"]
    if manifest.libraries is not None:
        names += ["scikit-learn", "skops"]
    if manifest.onnx is not None:
        names.append("onnxruntime")
    return {name.replace("-", "_"): version(name) for name in names}


def refuse_broken(found: Validation) -> None:
    """Refuse a validation whose guarantee does not hold.

    Raises:
        ModelError: It does not hold; the message states for how many rows.
    """
    if found.broken:
        raise ModelError(
            f"bundle {found.model}: {found.broken}",
            "keep the libraries that it was made with, or train it again",
        )


def _same_bits(got: Float64, expected: Float64) -> int:
    return int((got.view(np.uint64) == expected.view(np.uint64)).sum())
