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
    rows = np.frombuffer(data, "<f8", count * features, int(header["rows_at"]))
    values = np.frombuffer(data, "<u2", count * fields, int(header["values_at"]))
    return (
        rows.reshape(count, features),
        np.frombuffer(data, "<i8", count, int(header["amounts_at"])),
        values.reshape(count, fields),
        np.frombuffer(data, RESULT, count, int(header["results_at"])),
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
    values = [
        [texts[number] if number < len(texts) else None for number in column]
        for (_, texts, _), column in zip(scorer.image.policy_fields(), numbers.T, strict=True)
    ]
    made = as_results(scorer.decide(rows, amounts, values))
    size = RESULT.itemsize
    same = made.view("u1").reshape(-1, size) == expected.copy().view("u1").reshape(-1, size)
    return len(rows), int((~same.all(axis=1)).sum())


def main() -> int:
    """Print one line; return 1 if a result differs."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    rows, different = differences(
        (folder / "tables.bin").read_bytes(), (folder / "golden.bin").read_bytes()
    )
    sys.stdout.write(f"{rows} golden rows, {different} differ\n")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
