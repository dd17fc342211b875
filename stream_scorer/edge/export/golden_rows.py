"""Rows and their decisions, which every exported folder has to prove its arithmetic.

The rows are the bundle's golden rows; one on each cut of the trees, one on the number before it and
one on the number after it; and rows with missing values, both zeros and both infinities. They are
computed by the predictor of the stream, and the policy by its definition, not by its tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import model_scores
from stream_scorer.core.events.batch import NO_OUTCOME
from stream_scorer.core.events.policy_table import Segment
from stream_scorer.edge.export.policy_image import PolicyImage
from stream_scorer.edge.native import image
from stream_scorer.models.predictors.parts import (
    Affine,
    LinearWeights,
    Multiply,
    Part,
    ScoringModel,
    Select,
)
from stream_scorer.models.predictors.predictors import ScoringPredictor

Float64 = NDArray[np.float64]

CUTS_MOST: Final = 2_000
"""Maximum number of cuts with rows; of more, that many are taken, evenly spread."""
_SPECIAL: Final = (np.nan, 0.0, -0.0, np.inf, -np.inf)
_SPECIAL_FEATURES_MOST: Final = 400


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """Rows of features, events and the results that a kernel must give, bit for bit.

    Attributes:
        rows: float64[n, m].
        amounts: int64[n], in minor units.
        values: uint16[n, f], the number of each event's value of each field of the policy.
        results: RESULT[n].
    """

    rows: Float64
    amounts: NDArray[np.int64]
    values: NDArray[np.uint16]
    results: NDArray[np.void]

    def as_bytes(self) -> bytes:
        """Return ``golden.bin``: a header, then each array at a multiple of 64."""
        header = np.zeros(1, image.GOLDEN)
        header["magic"] = np.void(image.GOLDEN_MAGIC)
        header["rows"], header["features"] = self.rows.shape
        header["fields"] = self.values.shape[1]
        data = b"\0" * image.ALIGNMENT
        for name in ("rows", "amounts", "values", "results"):
            header[f"{name}_at"] = len(data)
            data += getattr(self, name).tobytes()
            data += b"\0" * (-len(data) % image.ALIGNMENT)
        return header.tobytes().ljust(image.ALIGNMENT, b"\0") + data[image.ALIGNMENT :]


def expected_rows(
    predictor: ScoringPredictor, base: Float64, policy: PolicyImage, segments: Sequence[Segment]
) -> ExpectedRows:
    """Return rows near everything that may change a decision, and their results.

    Args:
        predictor: The stream's predictor, with its own exponential function.
        base: float64[k, m], the bundle's golden rows.
        policy: The policy of the image.
        segments: Its segments.
    """
    rows = probes(predictor.model, base)
    numbers = np.random.default_rng(0)
    near = np.concatenate([policy.edges - 1, policy.edges, [0, 1, 10**12]])
    amounts = numbers.choice(near, len(rows)).astype(np.int64)
    values = np.column_stack(
        [np.zeros((len(rows), 0), np.uint16)]
        + [numbers.integers(0, len(f.values) + 1, len(rows), np.uint16) for f in policy.fields]
    )
    return ExpectedRows(
        rows, amounts, values, results(predictor, rows, policy, segments, amounts, values)
    )


def probes(model: ScoringModel, base: Float64, most: int = CUTS_MOST) -> Float64:
    """Return float64[n, m]: the given rows, rows at cuts and next to them, and special values.

    Args:
        model: The model.
        base: float64[k, m].
        most: Maximum number of cuts.
    """
    cuts = cuts_of(model)
    if len(cuts) > most:
        cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, most).astype(np.int64))]
    features = cuts[:, 0].astype(np.int64)
    found = [base]
    for values in (
        cuts[:, 1], np.nextafter(cuts[:, 1], np.inf), np.nextafter(cuts[:, 1], -np.inf)
    ):  # fmt: skip
        changed = base[np.arange(len(cuts)) % len(base)]
        changed[np.arange(len(cuts)), features] = values
        found.append(changed)
    for value in _SPECIAL:
        each = np.arange(min(model.feature_count, _SPECIAL_FEATURES_MOST))
        changed = base[each % len(base)]
        changed[each, each] = value
        found += [changed, np.full((1, model.feature_count), value)]
    return np.concatenate(found)


def cuts_of(model: ScoringModel) -> Float64:
    """Return float64[c, 2]: the feature and the number of each distinct cut of the trees.

    Trees whose rows are scaled before are left out: no number of a row is known to be on their cut.
    """
    pairs = [np.zeros((0, 2))]
    for part in model.parts:
        columns = _columns(part, model.feature_count)
        if columns is not None and not isinstance(part.body, LinearWeights):
            trees = part.body
            node = np.repeat(np.arange(len(trees.feature)), trees.cut_counts())
            pairs.append(np.column_stack([columns[trees.feature[node]], trees.cuts]))
    return np.unique(np.concatenate(pairs), axis=0)


def _columns(part: Part, count: int) -> NDArray[np.int64] | None:
    """Return the feature of each column that a part's body takes; None if they are scaled."""
    columns = np.arange(count)
    for step in part.before:
        if isinstance(step, Affine | Multiply):
            return None
        if isinstance(step, Select):
            columns = columns[step.columns]
    return columns


def results(
    predictor: ScoringPredictor, rows: Float64, policy: PolicyImage, segments: Sequence[Segment],
    amounts: NDArray[np.int64], values: NDArray[np.uint16],
) -> NDArray[np.void]:  # fmt: skip
    """Return RESULT[n]: the decisions of rows, as the stream makes them.

    Args:
        predictor: The stream's predictor, with its own exponential function.
        rows: float64[n, m].
        policy: The policy of the image.
        segments: Its segments.
        amounts: int64[n], in minor units.
        values: uint16[n, f].
    """
    found = np.zeros(len(rows), image.RESULT)
    scores, failed, _ = model_scores(predictor, rows)
    found["score"], found["failed"], found["margin"] = scores, failed, np.nan
    good = ~failed
    if good.any():
        found["margin"][good] = predictor.raw(np.ascontiguousarray(rows[good]))
    found["segment"] = [
        _segment(segments, int(amount), _texts(policy, value))
        for amount, value in zip(amounts, values, strict=True)
    ]
    found["outcome"] = _outcomes(scores, policy.limits[np.where(
        found["segment"] < 0, len(segments), found["segment"]
    )])  # fmt: skip
    found["model_outcome"] = _outcomes(scores, policy.limits[-1:])
    found["outcome"][failed] = policy.on_model_error
    found["model_outcome"][failed] = NO_OUTCOME
    return found


def _outcomes(scores: Float64, limits: Float64) -> NDArray[np.int64]:
    return (scores[:, None] >= limits).sum(axis=1)


def _texts(policy: PolicyImage, values: NDArray[np.uint16]) -> dict[str, str | None]:
    return {
        field.name: field.values[number] if number < len(field.values) else None
        for field, number in zip(policy.fields, values.tolist(), strict=True)
    }


def _segment(segments: Sequence[Segment], amount: int, values: dict[str, Any]) -> int:
    """Return the number of the first segment that an event fits; -1 for none."""
    for number, segment in enumerate(segments):
        named = segment.values.items()
        if segment.holds_amount(amount) and all(
            values[name] in [str(v).lower() if isinstance(v, bool) else v for v in wanted]
            for name, wanted in named
        ):
            return number
    return -1
