"""Imported models: do they score as their own libraries do, bit for bit, and how fast?

- Bits. Each configuration is a kind of training, of XGBoost, LightGBM, CatBoost and scikit-learn,
  each in its newest version and in two older ones. Each version runs in an environment of its own
  below ``.venv-matrix/``, and writes model files, rows and its own scores, on one thread and from
  raw matrices. The rows are random ones, one on each threshold of the model and on the next numbers
  in float32 and float64, NaN, infinite values, ±0, denormals, unseen and negative categories. We
  import the files and compare. All margins must have the same bits. Probabilities may differ by 2
  units in the last place of float32 for XGBoost, and by 4 for the others. Models that are not
  supported must be refused, in one line that names the cause. ``pylignum`` and ``treelite`` score
  the models of the newest versions, too; their results are printed, not judged.
- Speed: see bench/imports_steps/speed.py.
- Pipe: see bench/imports_steps/pipe.py.
- Attributions: see bench/imports_steps/attributions.py.

With ``--quick`` there are few configurations of the installed versions, and one shape and a short
pipe, whose speed is not judged.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.harness.script import Number, Script, missed, say, table
from bench.imports_steps import attributions, pipe, speed
from bench.imports_steps.compare import Outcome, asked, compared
from bench.imports_steps.example import read
from bench.imports_steps.libraries import ORACLES, PACKAGES, versions

ROOT = Path(__file__).parents[1]

LEAST_CONFIGURATIONS, LEAST_EACH, LEAST_VERSIONS = 300, 50, 3
MOST_ULPS = {"xgboost": 2, "lightgbm": 4, "catboost": 4, "scikit_learn": 4}
SECONDS = {
    "xgboost": ("pylignum", "treelite"), "lightgbm": ("pylignum", "treelite"),
    "catboost": ("pylignum",), "scikit_learn": (),
}  # fmt: skip
"""The second oracles of each library."""
QUICK = {
    "xgboost": (
        "binary_logistic-depth3-categories-missing", "binary_logistic-dart", "early-forest-best",
        "missing-not-a-float32", "tiny-values",
    ),
    "lightgbm": (
        "missing_nan_missing", "missing_zero_zeros", "categories_sparse_zero", "forest",
        "class_1_of_three",
    ),
    "catboost": (
        "SymmetricTree, depth 4, missing", "Depthwise, depth 3, missing is largest",
        "Lossguide, tiny", "class 0 is fraud, scale and bias",
        "SymmetricTree, up to 255 categories",
    ),
    "scikit_learn": (
        "hist boosting, depth 3, missing", "boosting, depth 3, plain", "forest, depth 6, missing",
        "StandardScaler(), hist boosting", "calibrated boosting, isotonic",
    ),
}  # fmt: skip
PARTS = (*PACKAGES, "speed", "pipe", "attributions")


def examples(library: str, python: Path, names: Sequence[str], folder: Path) -> Iterator[Path]:
    """Train the models of a library in its environment; yield the files of numpy.

    Args:
        library: One of :data:`PACKAGES`.
        python: Of the environment.
        names: The configurations; all if there is none.
        folder: Where the files are written.

    Raises:
        SystemExit: The training failed.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "bench.imports_steps.training", library, str(folder), *names]
    done = subprocess.run(  # noqa: S603 our own program
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["the first"])[-1]
        cause = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SystemExit(f"{library}, after {last}: {cause}")
    yield from sorted(folder.glob("*.npz"))


def outcomes(library: str, *, quick: bool) -> Iterator[Outcome]:
    """Compare each configuration of a library, in each version."""
    names = QUICK[library] if quick else ()
    for number, (version, python) in enumerate(versions(library, quick=quick)):
        found = Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            for path in examples(library, python, names, Path(folder)):
                example = read(path)
                path.unlink()
                seconds = SECONDS[library] if number == 0 and asked(example) else ()
                outcome = compared(example, Path(folder), seconds)
                found[verdict(library, outcome)] += 1
                yield outcome
        say(f"{library} {version}: {', '.join(f'{n} {what}' for what, n in found.items())}")


def verdict(library: str, outcome: Outcome) -> str:
    """Return ``equal``, ``unequal``, ``refused`` as it must be, or what is wrong otherwise."""
    if not outcome.supported:
        if not outcome.refused:
            return "not refused"
        return "refused" if outcome.named else "refused without a name"
    if outcome.refused:
        return "refused although it is supported"
    far = not outcome.ulps <= MOST_ULPS[library]
    return "unequal" if outcome.unequal or far else "equal"


def line(library: str, outcome: Outcome) -> str:
    """Return what is wrong with an outcome, in one line."""
    start = f"{library} {outcome.version}: {outcome.name}"
    if outcome.refused:
        return f"{start}: {verdict(library, outcome)}: {outcome.refused}"
    if not outcome.supported:
        return f"{start}: not refused"
    return (
        f"{start}: {outcome.unequal} of {outcome.rows} rows differ, "
        f"probabilities by {outcome.ulps:.3g} ulp"
    )


def report(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """Return the report's part of the bits.

    Args:
        found: The outcomes by library.
    """
    verdicts = {
        library: [(verdict(library, each), each) for each in all_of]
        for library, all_of in found.items()
    }
    supported = {
        library: [each for each in all_of if each.supported] for library, all_of in found.items()
    }
    names = {library: len({e.name for e in all_of}) for library, all_of in supported.items()}

    def counted(what: str) -> dict[str, int]:
        return {
            library: sum(each == what for each, _ in all_of) for library, all_of in verdicts.items()
        }

    return {
        "configurations": sum(names.values()),
        "configurations_by_library": names,
        "models": {library: len(all_of) for library, all_of in supported.items()},
        "equal": counted("equal"),
        "refused": counted("refused"),
        "unequal": [
            line(library, each)
            for library, all_of in verdicts.items()
            for what, each in all_of
            if what not in ("equal", "refused")
        ],
        "versions": {
            library: list(dict.fromkeys(each.version for each in all_of))
            for library, all_of in found.items()
        },
        "rows": {library: sum(each.rows for each in all_of) for library, all_of in found.items()},
        "ulps": {
            library: max((each.ulps for each in all_of), default=0.0)
            for library, all_of in found.items()
        },
        "thresholds": {
            library: {
                "all": sum(each.cuts for each in all_of),
                "tried": sum(each.tried for each in all_of),
            }
            for library, all_of in found.items()
        },
        "untried": [
            f"{library} {each.version}: {each.name}: {each.tried} of {each.cuts} thresholds have "
            "rows on them and next to them"
            for library, all_of in found.items()
            for each in all_of
            if each.tried < each.cuts
        ],
        "oracles": {library: ORACLES[library] for library in found},
        "second_oracles": {
            library: seconds(all_of) for library, all_of in found.items() if SECONDS[library]
        },
    }


def seconds(found: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """Return by second oracle how many models it scores equally, differently, and refuses."""
    words = {True: "equal", False: "unequal", None: "refused"}
    counts: dict[str, dict[str, int]] = {}
    for name, same in (pair for each in found for pair in each.seconds):
        counts.setdefault(name, dict.fromkeys(words.values(), 0))[words[same]] += 1
    return counts


def failures(document: Mapping[str, Any], *, quick: bool) -> list[str]:
    """Return one line for each model that is not as it must be, and for each missed number.

    Args:
        document: Of :func:`report`.
        quick: Whether the numbers of configurations and versions are not judged.
    """
    failed = [*document["unequal"], *document["untried"]]
    for library in document["equal"]:
        failed += missed(
            (f"{library}: {{}} models are equal", document["equal"][library], ">=", 1),
            (f"{library}: {{}} models are refused", document["refused"][library], ">=", 1),
            (f"{library}: probabilities differ by {{}} ulp", document["ulps"][library], "<=",
             MOST_ULPS[library]),
        )  # fmt: skip
        if not quick:
            failed += missed(
                (
                    f"{library}: {{}} configurations",
                    document["configurations_by_library"][library], ">=", LEAST_EACH,
                ),
                (
                    f"{library}: {{}} versions", len(document["versions"][library]), ">=",
                    LEAST_VERSIONS,
                ),
            )  # fmt: skip
    if not quick and set(document["equal"]) == set(PACKAGES):
        failed += missed(
            ("{} configurations", document["configurations"], ">=", LEAST_CONFIGURATIONS)
        )
    return failed


def tables(document: Mapping[str, Any]) -> Iterator[Table | str]:
    """Yield what a person reads of a report."""
    if document.get("equal"):
        yield table(
            "Imported models", "library", "versions", "models", "equal", "rows", "ulp of float32",
            "refused", "thresholds, with a row",
            rows=(
                (
                    library, " ".join(document["versions"][library]), document["models"][library],
                    equal, document["rows"][library], f"{document['ulps'][library]:.3g}",
                    document["refused"][library],
                    "{all:,}, {tried:,}".format(**document["thresholds"][library]),
                )
                for library, equal in document["equal"].items()
            ),
        )  # fmt: skip
        yield table(
            "Second oracles", "library", "predictor", "equal", "unequal", "refused",
            rows=(
                (library, name, *counts.values())
                for library, each in document["second_oracles"].items()
                for name, counts in each.items()
            ),
        )  # fmt: skip
        yield from (f"oracle of {name}: {oracle}" for name, oracle in document["oracles"].items())
    if "speed" in document:
        yield table(
            f"Microseconds a row, in batches of {speed.BATCH:,}", "trained by", "trees", "leaves",
            "features", "ratio", "best", "all",
            rows=(
                (
                    each["library"], each["trees"], each["leaves"], each["features"],
                    f"{each['ratio']:.2f}", each["best"],
                    ", ".join(f"{name} {us:.2f}" for name, us in each["microseconds"].items()),
                )
                for each in document["speed"]["shapes"]
            ),
        )  # fmt: skip
        yield table(
            "Single rows",
            "trained by",
            "trees",
            "depth",
            "features",
            "µs",
            rows=(each.values() for each in document["speed"]["single_row"]),
        )
        yield f"geometric means: {document['speed']['geometric_mean']}"
    if "pipe" in document:
        yield "pipe: {ours:,} events/s; with LightGBM {library:,}; ratio {ratio}".format(
            **document["pipe"]
        )
    if "attributions" in document:
        yield table(
            "Path attributions and SHAP values", "SHAP", "same first reason",
            "shared of three", "rank correlation", "remainder",
            rows=(
                (
                    way, *document["attributions"][way].values(),
                    f"{document['attributions']['remainder'][way]:.1e}",
                )
                for way in attributions.WAYS
            ),
        )  # fmt: skip


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--json", action="store_true", help="the report without tables")


def main() -> int:
    script = Script(
        __doc__, "few configurations of the installed versions, one shape", more=_options,
        rounds=Number(15, 3, "interleaved rounds of the speed"),
    )  # fmt: skip
    quick, parts = script.quick, script.options.only or PARTS
    document: dict[str, Any] = report({
        library: list(outcomes(library, quick=quick)) for library in PACKAGES if library in parts
    })  # fmt: skip
    failed = failures(document, quick=quick)
    if "speed" in parts:
        shapes = speed.QUICK_SHAPES if quick else speed.SHAPES
        document["speed"] = speed.report(
            speed.batches(shapes, script.options.rounds, compiled=not quick),
            speed.single_rows(script.options.rounds, quick=quick),
        )
        failed += [] if quick else speed.failures(document["speed"])
    if "pipe" in parts:
        document["pipe"] = pipe.measure_pipe(*((30_000, 1) if quick else (300_000, 5)))
        failed += [] if quick else pipe.failures(document["pipe"])
    if "attributions" in parts:
        document["attributions"] = attributions.compare(
            20 if quick else 200, 10, 50 if quick else 500
        )
        failed += attributions.failures(document["attributions"])
    shown = () if script.options.json else tables(document)
    return script.conclude(document | {"seconds": script.seconds}, failed, *shown)


if __name__ == "__main__":
    sys.exit(main())
