"""Checks the folder: scores golden.bin by tables.bin, and compares every bit of the results.

python -m stream_scorer_edge.check FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .image import GOLDEN, GOLDEN_MAGIC, RESULT, ImageError
from .portable import ImageScorer, ScoredRows


def golden_arrays(data: bytes) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the arrays of ``golden.bin``: rows, amounts, values and results.

    Raises:
        ImageError: The data is not such a file.
    """
    if len(data) < GOLDEN.itemsize or data[:8] != GOLDEN_MAGIC:
        raise ImageError("not a file of golden rows")
    header: Any = np.frombuffer(data, GOLDEN, 1)[0]
    count, features, fields = (int(header[name]) for name in ("rows", "features", "fields"))

    def array(name: str, kind: Any, width: int = 1) -> NDArray[Any]:
        at, size = int(header[f"{name}_at"]), np.dtype(kind).itemsize
        if count == 0 or at + count * width * size > len(data):
            raise ImageError("golden rows are incomplete: truncated")
        return np.frombuffer(data, kind, count * width, at)

    return (
        array("rows", "<f8", features).reshape(count, features),
        array("amounts", "<i8"),
        array("values", "<u2", fields).reshape(count, fields),
        array("results", RESULT),
    )


def as_results(found: ScoredRows) -> NDArray[np.void]:
    """Return decisions as RESULT[n]."""
    made = np.zeros(len(found.score), RESULT)
    for name in ("margin", "score", "segment", "outcome", "model_outcome", "failed"):
        made[name] = getattr(found, name)
    return made


def differences(tables: bytes, golden: bytes) -> tuple[int, int]:
    """Return the number of golden rows, and how many of them have other results.

    Args:
        tables: ``tables.bin``.
        golden: ``golden.bin``.

    Raises:
        ImageError: One of them is not such a file, or is damaged.
    """
    scorer = ImageScorer(tables)
    rows, amounts, numbers, expected = golden_arrays(golden)
    if (rows.shape[1], numbers.shape[1]) != (len(scorer.feature_names), len(scorer.policy_fields)):
        raise ImageError("golden rows of another model")
    values = [
        [texts[number] if number < len(texts) else None for number in column]
        for (_, texts, _), column in zip(scorer.image.policy_fields(), numbers.T, strict=True)
    ]
    made = as_results(scorer.decide(rows, amounts, values))
    size = RESULT.itemsize
    same = made.view("u1").reshape(-1, size) == expected.copy().view("u1").reshape(-1, size)
    return len(rows), int((~same.all(axis=1)).sum())


def main() -> int:
    """Print one line; return 1 if a result differs, 2 if the files cannot be compared."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    try:
        rows, different = differences(
            (folder / "tables.bin").read_bytes(), (folder / "golden.bin").read_bytes()
        )
    except (ImageError, OSError) as error:
        sys.stderr.write(f"{folder}: {error}\n")
        return 2
    sys.stdout.write(f"{rows} golden rows, {different} differ\n")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
