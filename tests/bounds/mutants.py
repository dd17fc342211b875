# ruff: noqa: E501, ISC004 the texts of other files, as they are there
"""Checks that are removed from a copy of the package, to show that a missing check is found."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Mutant:
    """A check that is removed.

    Attributes:
        name: What it checks.
        edits: (file in the package, its text, the replacement).
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]


NEGATIVE_FIXED = Mutant(
    "the size of a fixed",
    (
        ("registry/limits.py", "not 0 <= size <= self._limits.fixed_bytes", "abs(size) > 2**62"),
        ("codec/reading/decode_program.py", "        check_program(self.code", "        print if check_program else (self.code"),
        ("codec/reading/decode_kernel.py", "if size < 0 or size > end - at:\n                        failed = TRUNC",
         "if size > end - at:\n                        failed = TRUNC"),
    ),
)  # fmt: skip
FORGED_BUCKET = Mutant(
    "the rings of a bucket",
    (("core/rings/payload.py", "    if fault != SOUND:\n", "    if fault > ELSEWHERE:\n"),),
)
OTHERS = (
    Mutant("the length of a string", (
        ("codec/reading/decode_kernel.py", "elif value > end - at:\n", "elif value > string_max:\n"),)),
    Mutant("the sign of a string's length", (
        ("codec/reading/decode_kernel.py", "if value < 0:\n                        failed = LENGTH",
         "if value < -(1 << 62):\n                        failed = LENGTH"),)),
    Mutant("the bytes of a double", (
        ("codec/reading/decode_kernel.py", "if width > end - at:\n", "if width > limit - at + 64:\n"),)),
    Mutant("the number of a symbol", (
        ("codec/reading/decode_kernel.py", "if value < 0 or value >= code[step, 1]:\n                        "
         "failed = SYMBOL", "if value < 0:\n                        failed = SYMBOL"),)),
    Mutant("the number of a branch", (
        ("codec/reading/decode_kernel.py", "if value < 0 or value >= code[step, 1]:\n                        "
         "failed = BRANCH", "if value < -1000:\n                        failed = BRANCH"),)),
    Mutant("a boolean's byte", (
        ("codec/reading/decode_kernel.py", "if at >= end:\n                    failed = TRUNCATED",
         "if at > end + 64:\n                    failed = TRUNCATED"),)),
    Mutant("the bytes of a varint", (
        ("codec/reading/read_kernels.py", "            if at + size > end:\n                return np.int64(0), "
         "at, TRUNCATED\n", ""),)),
    Mutant("room behind a column's text", (
        ("codec/reading/arrow_layout.py", "return validity, values, size + SLACK",
         "return validity, values, size"),)),
    Mutant("room behind what is encoded to bytes", (
        ("codec/reading/arrow_layout.py", "values = (rows + 1) * _WIDTH[self.kind]",
         "values = rows * _WIDTH[self.kind]"),)),
    Mutant("the length of an id in a bucket", (
        ("core/kernels/dumping.py", "if at < 0 or length < 0 or length > end - at:",
         "if at < 0 or length < 0:"),)),
    Mutant("the count of events in a bucket", (
        ("core/kernels/dumping.py", " or count * (10 + 8 * fields) > end - at:", ":"),
        ("core/kernels/dumping.py", "        if at < 0 or count * 8 * (1 + fields) > end - at:\n"
         "            return CUT_OFF\n", ""),
        ("core/kernels/dumping.py", "    return SOUND if at == end else CUT_OFF", "    return SOUND"),
    )),
    Mutant("the children of a tree", (
        ("models/predictors/trees.py", '        _refuse_unless(inside, "a child outside its tree")\n', ""),
        ("models/predictors/trees.py", "    parents[roots] += 1\n", "    parents[:] = 1\n"),
        ("models/predictors/trees.py", "np.bincount(np.concatenate([left[at], right[at]]), minlength=len(inner))",
         "np.ones(len(inner), np.int64)"),
        ("models/predictors/trees.py", "    if bool((left[at] > at).all() and (right[at] > at).all()):\n", "    if len(at) >= 0:\n"),
    )),
    Mutant("the feature of a split", (
        ("models/predictors/trees.py", "bool((feature < feature_count).all()),", "True,"),)),
    Mutant("the shape of coefficients", (
        ("models/importing/scikit_learn/arrays.py", "    if np.shape(values) != shape:\n", "    if not np.shape(values):\n"),
        ("models/predictors/parts.py", "        fits = column.shape == (width,) and column.dtype == np.float64\n",
         "        fits = column.dtype == np.float64\n"))),
)  # fmt: skip


def chosen(seed: int) -> list[Mutant]:
    """Return the two mutants that are always tried, and five of the others."""
    more = random.Random(seed).sample(OTHERS, 5)  # noqa: S311 a test's choice, no secret
    return [NEGATIVE_FIXED, FORGED_BUCKET, *more]


def make(mutant: Mutant, root: Path) -> None:
    """Make a copy of the package from which a check is removed.

    Args:
        mutant: The check.
        root: An empty folder; the caller puts it first on the path.

    Raises:
        ValueError: The package does not have the check's text exactly once.
    """
    package = root / "stream_scorer"
    shutil.copytree(_ROOT / "stream_scorer", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("schemas", "models"):
        (root / name).symlink_to(_ROOT / name)
    for name, old, new in mutant.edits:
        path = package / name
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{mutant.name}: {name} holds {text.count(old)} times {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")
