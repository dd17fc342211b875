"""Scores rows of features with numpy alone, bit for bit as stream-scorer and its C kernel do.

    scorer = ImageScorer(Path("tables.bin").read_bytes())
    found = scorer.decide(rows)
    found.score, found.outcome

Every operation is done element by element, in a fixed order, and rounded: no ``dot``, no ``sum``,
no ``exp`` of numpy, whose order or last bits differ between machines. This module is part of
exported folders, so it imports nothing of stream-scorer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import image
from .arithmetic import expit, single_sigmoid
from .image import TableImage

Float64 = NDArray[np.float64]

APPROVE, REVIEW, BLOCK, NO_OUTCOME = range(4)
_CHUNK: Final = 4096
"""Rows that are scored together, so that their words stay in the cache."""
_INTEGERS_FROM: Final = 4503599627370496.0
"""All numbers of at least this size, 2^52, are integers."""


@dataclass(frozen=True)
class ScoredRows:
    """The decisions of n rows.

    Attributes:
        margin: float64[n], raw scores, such as log-odds; NaN where the model failed.
        score: float64[n], probabilities of fraud; NaN where the model failed.
        segment: int16[n], the policy's segment that the event fits; -1 for none.
        outcome: uint8[n], 0 for APPROVE, 1 for REVIEW, 2 for BLOCK.
        model_outcome: uint8[n], by the model's own thresholds; 3 where it failed.
        failed: bool[n], rows that the model does not take, or whose score is not a probability.
    """

    margin: Float64
    score: Float64
    segment: NDArray[np.int16]
    outcome: NDArray[np.uint8]
    model_outcome: NDArray[np.uint8]
    failed: NDArray[np.bool_]


class ImageScorer:
    """Scores rows by a table image.

    Args:
        data: The image.

    Raises:
        ImageError: The data is not an image, is of another version, or is damaged.
    """

    def __init__(self, data: bytes) -> None:
        self.image = TableImage(data)
        self.feature_names = self.image.names
        self._parts = [_ImagePart(self.image, part) for part in self.image.parts]
        header = self.image.header
        array = self.image.array
        self._edges = array(header["edges_at"], "<i8", header["edges"])
        self._edge_bits = array(header["edge_bits_at"], "<u8", header["edges"] + 1)
        self._limits = array(header["limits_at"], "<f8", int(header["segments"]) + 2, 2)
        self._fields = list(self.image.policy_fields())
        self.policy_fields = tuple(name for name, _, _ in self._fields)

    def decide(
        self,
        rows: Float64,
        amounts: NDArray[np.int64] | None = None,
        values: Sequence[Sequence[str | bool | None]] = (),
    ) -> ScoredRows:
        """Score and decide rows.

        Args:
            rows: float64[n, m].
            amounts: int64[n], in minor units, such as cents. Needed if the policy has segments.
            values: For each of :attr:`policy_fields` the n values; None for a missing one. Needed
                if the policy has fields.

        Raises:
            ValueError: The rows, amounts or values do not fit the model and its policy.
        """
        rows = np.ascontiguousarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):  # noqa: PLR2004 rows, columns
            raise ValueError(f"rows of {len(self.feature_names)} features are needed")
        segment = self._segments(len(rows), amounts, values)
        margin, score = np.empty(len(rows)), np.empty(len(rows))
        good = np.ones(len(rows), np.bool_)
        with np.errstate(all="ignore"):
            for first in range(0, len(rows), _CHUNK):
                some = slice(first, first + _CHUNK)
                self._score(rows[some], margin[some], score[some], good[some])
            good &= (score >= 0.0) & (score <= 1.0)
        margin[~good] = np.nan
        score[~good] = np.nan
        applied = np.where(segment < 0, len(self._limits) - 2, segment)
        outcome = self._outcomes(score, self._limits[applied])
        outcome[~good] = self.image.header["on_model_error"]
        own = self._outcomes(score, self._limits[-1:])
        own[~good] = NO_OUTCOME
        return ScoredRows(margin, score, segment, outcome, own, ~good)

    def _score(
        self, rows: Float64, margin: Float64, score: Float64, good: NDArray[np.bool_]
    ) -> None:
        for number, part in enumerate(self._parts):
            sums = part.margins(rows, good)
            scores = part.finished(sums)
            margin[:] = margin + sums if number else sums
            score[:] = score + scores if number else scores
        if len(self._parts) > 1:
            margin /= len(self._parts)
            score /= len(self._parts)

    @staticmethod
    def _outcomes(score: Float64, limits: Float64) -> NDArray[np.uint8]:
        review, block = score >= limits[:, 0], score >= limits[:, 1]
        return review.astype(np.uint8) + block.astype(np.uint8)

    def _segments(
        self,
        count: int,
        amounts: NDArray[np.int64] | None,
        values: Sequence[Sequence[str | bool | None]],
    ) -> NDArray[np.int16]:
        if not self.image.header["segments"]:
            return np.full(count, -1, np.int16)
        if amounts is None or len(amounts) != count:
            raise ValueError("the policy needs the amount of each event")
        if [len(column) for column in values] != [count] * len(self._fields):
            raise ValueError(f"the policy needs {', '.join(self.policy_fields)} of each event")
        left = self._edge_bits[np.searchsorted(self._edges, amounts, "right")]
        for (_, texts, bits), column in zip(self._fields, values, strict=True):
            numbers = {text: number for number, text in enumerate(texts)}
            named = (str(v).lower() if isinstance(v, bool) else v for v in column)
            left &= bits[[numbers.get(v, len(texts)) if v is not None else -1 for v in named]]
        return (_lowest_bits(left) - (left == 0)).astype(np.int16)


class _ImagePart:
    """One of the models whose mean is the score."""

    def __init__(self, source: TableImage, part: Any) -> None:
        self._source, self._part = source, part
        first, past = int(part["first_step"]), int(part["first_step"] + part["before"])
        self._before = source.steps[first:past]
        self._after = source.steps[past : past + int(part["after"])]
        self._number = np.dtype("<f4" if part["single"] else "<f8")

    def _array(self, name: str, dtype: Any, *shape: int) -> NDArray[Any]:
        return self._source.array(self._part[f"{name}_at"], dtype, *shape)

    def margins(self, rows: Float64, good: NDArray[np.bool_]) -> Float64:
        """Return float64[n]; rows that the part refuses become False in ``good``."""
        for step in self._before:
            rows = self._prepared(step, rows, good)
        part = self._part
        if part["kind"] == image.LINEAR:
            sums = self._weighted(rows)
            good &= np.isfinite(sums)
        else:
            total = np.full(len(rows), part["baseline"], self._number)
            found = self._masked if part["kind"] == image.MASKS else self._walked
            sums = found(rows, total).astype(np.float64)
        sums /= part["divisor"]
        if part["scale"] != 1.0 or part["bias"] != 0.0:
            sums *= part["scale"]
            sums += part["bias"]
        return sums

    def _prepared(self, step: Any, rows: Float64, good: NDArray[np.bool_]) -> Float64:
        kind, count, a, b = step["kind"], step["count"], step["a"], step["b"]
        array = self._source.array
        if kind in (image.SELECT, image.INTEGERS):
            columns = rows[:, array(step["first_at"], "<i4", count)]
            if kind == image.SELECT:
                return np.ascontiguousarray(columns)
            good &= ((np.abs(columns) <= a) & (np.rint(columns) == columns)).all(axis=1)
        elif kind == image.IMPUTE:
            found = np.isnan(rows) if np.isnan(a) else rows == a
            rows = np.where(found, array(step["first_at"], "<f8", count), rows)
        elif kind == image.AFFINE:
            rows = rows - array(step["first_at"], "<f8", count)
            rows /= array(step["second_at"], "<f8", count)
        elif kind == image.MULTIPLY:
            rows = rows * array(step["first_at"], "<f8", count)
            rows += array(step["second_at"], "<f8", count)
        elif kind == image.CLIP:
            rows = np.where(rows < a, a, rows)
            rows = np.where(rows > b, b, rows)
        else:
            compared = rows.astype(np.float32).astype(np.float64) if b else rows
            rows = np.where(compared == a, np.nan, rows)
        return rows

    def _weighted(self, rows: Float64) -> Float64:
        total = np.zeros(len(rows))
        for column, weight in enumerate(self._array("weights", "<f8", rows.shape[1])):
            total += weight * rows[:, column]
        return total + self._part["baseline"]

    def _masked(self, rows: Float64, total: NDArray[Any]) -> NDArray[Any]:
        """Add the values of the leaves: the lowest bit of a tree that is set in all lines."""
        part = self._part
        leaves = int(part["leaves"])
        in_line = 512 // leaves
        table = self._array("table", f"<u{leaves // 8}", part["lines"], in_line)
        values = self._array("values", self._number, part["trees"], leaves)
        places = self._array("places", "<u2", part["groups"], part["places"])
        groups = self._array("groups", image.GROUP, int(part["groups"]) + 1)
        used = self._array("used", "<i4", part["used"])
        found = self._places(rows)
        for group, trees in enumerate(range(0, len(values), in_line)):
            words = np.full((len(rows), in_line), ~np.uint64(0), np.uint64)
            for column in used[groups["used"][group] : groups["used"][group + 1]]:
                words &= table[groups["line"][group] + places[group, found[column]].astype(int)]
            leaf = _lowest_bits(words)
            for tree in range(trees, min(trees + in_line, len(values))):
                total += values[tree, leaf[:, tree - trees]]
        return total

    def _places(self, rows: Float64) -> NDArray[np.int64]:
        cuts = self._array("cuts", "<f8", self._part["cuts"])
        columns = self._array("columns", image.COLUMN, self._part["columns"])
        found = np.empty((len(columns), len(rows)), np.int64)
        for number, column in enumerate(columns):
            value = rows[:, column["feature"]]
            past = column["start"] + column["missing"] - column["first"] - 1
            at = column["first"] + np.searchsorted(cuts[column["start"] : past], value)
            found[number] = np.where(np.isnan(value), column["missing"], at)
        return found

    def _walked(self, rows: Float64, total: NDArray[Any]) -> NDArray[Any]:
        part = self._part
        nodes = self._array("nodes", image.NODE, part["nodes"])
        values = self._array("values", self._number, part["nodes"])
        roots = self._array("roots", "<i4", part["trees"])
        depths = self._array("depths", "<i4", -(-len(roots) // 8))
        each = np.arange(len(rows))
        for tree, root in enumerate(roots):
            at = np.full(len(rows), root, np.int64)
            for _ in range(depths[tree // 8]):
                value = rows[each, nodes["feature"][at]]
                right = self._odd(at, value) if part["levels"] else value > nodes["threshold"][at]
                at = nodes["left"][at] + np.where(np.isnan(value), nodes["missing"][at], right)
            total += values[at]
        return total

    def _odd(self, at: NDArray[np.int64], value: Float64) -> NDArray[np.int64]:
        """Return int64[n], 1 where an odd number of a node's cuts is below a value."""
        cuts = self._array("cuts", "<f8", self._part["cuts"])
        firsts = self._array("first_cut", "<u4", int(self._part["nodes"]) + 1).astype(np.int64)
        first, count = firsts[at], firsts[at + 1] - firsts[at]
        below = np.zeros(len(at), np.int64)
        for level in range(int(self._part["levels"]) - 1, -1, -1):
            following = below + (1 << level)
            inside = following <= count
            index = np.where(inside, first + following - 1, 0)
            below = np.where(inside & (cuts[index] < value), following, below)
        return below & 1

    def finished(self, values: Float64) -> Float64:
        """Return float64[n]: the scores of margins."""
        for step in self._after:
            kind, a, b = step["kind"], step["a"], step["b"]
            if kind == image.SIGMOID:
                values = expit(values if (a, b) == (1.0, 0.0) else values * a + b)
            elif kind == image.PLATT:
                values = expit(-(values * a + b))
            elif kind == image.SINGLE_SIGMOID:
                values = single_sigmoid(values)
            else:
                values = self._interpolated(step, values)
        return values

    def _interpolated(self, step: Any, values: Float64) -> Float64:
        x = self._source.array(step["first_at"], "<f8", step["count"])
        y = self._source.array(step["second_at"], "<f8", step["count"])
        low = np.maximum(np.searchsorted(x, values, "right") - 1, 0)
        high = np.minimum(low + 1, len(x) - 1)
        slope = (y[high] - y[low]) / (x[high] - x[low])
        between = slope * (values - x[low]) + y[low]
        between = np.where(between < 0.0, 0.0, between)
        between = np.where(between > 1.0, 1.0, between)
        found = np.where(values != x[low], between, y[low])
        found = np.where(values >= x[-1], y[-1], found)
        found = np.where(values <= x[0], y[0], found)
        return np.where(np.isnan(values), values, found)


def _lowest_bits(words: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of the lowest set bit of each unsigned word; 0 where there is none."""
    lowest = (words & (~words + words.dtype.type(1))).astype(np.float64)
    # A power of two is exact as a float.
    return np.maximum(np.frexp(lowest)[1].astype(np.int64) - 1, 0)
