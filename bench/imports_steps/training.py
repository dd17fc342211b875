"""Trains the models of a library, and writes each with the library's own scores.

Needs the library and numpy only, so that it runs with any of its versions in an environment of its
own::

    python -m bench.imports_steps.training LIBRARY FOLDER [NAME ...]

writes NUMBER.npz for each named configuration, or for all, and for each unsupported model.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from bench.imports_steps.example import NO_ROWS, Example, write

ROWS_MOST = 250_000
"""Maximum rows at the thresholds of one model; more are sampled."""


def _chosen(name: str, names: Sequence[str]) -> bool:
    return not names or name in names


def xgboost(names: Sequence[str]) -> Iterator[Example]:
    """Yield examples; the oracle is ``inplace_predict`` of float64 rows, margins and values."""
    from tests.support.imports import xgboost_models as models  # noqa: PLC0415 one library each

    for each in models.configurations():
        if _chosen(each.name, names):
            made = models.train(each, ROWS_MOST)
            yield Example(
                made.name, made.version, made.json, made.ubj, made.rows,
                made.margins[None].astype(np.float64), made.probabilities.astype(np.float64),
                rounds=made.choice or "",
                missing=np.nan if made.missing is None else made.missing,
            )  # fmt: skip


def lightgbm(names: Sequence[str]) -> Iterator[Example]:
    """Yield examples; the oracle is ``predict`` of the file's booster and of the trained one.

    For a random forest, a raw score is the sum of the rounds, and the margin is their mean.
    """
    import lightgbm as library  # noqa: PLC0415 see above

    from tests.support.imports import lightgbm_models as models  # noqa: PLC0415

    for name, each in models.configurations().items():
        if _chosen(name, names):
            made = models.case(each, ROWS_MOST)
            rounds = 1
            if each.parameters.get("boosting") == "rf":
                again = models.loaded(made.text)
                rounds = again.num_trees() // again.num_model_per_iteration()
            yield Example(
                name, library.__version__, made.text.encode(), b"", made.rows,
                np.stack([made.sums, made.trained_sums]) / rounds, made.probabilities,
                fraud_class=made.fraud_class or "",
            )  # fmt: skip


def catboost(names: Sequence[str]) -> Iterator[Example]:
    """Yield examples; the oracle is ``RawFormulaVal`` of float64 and float32 rows."""
    import catboost as library  # noqa: PLC0415 see above

    from tests.support.imports import catboost_models as models  # noqa: PLC0415
    from tests.support.imports.catboost_rows import rows_for  # noqa: PLC0415

    for each in models.configurations():
        if _chosen(each.name, names):
            trained = each.train()
            rows = rows_for(trained.text)
            with np.errstate(over="ignore"):
                single = models.margins(trained, rows.astype(np.float32))
            yield Example(
                each.name, library.__version__, trained.text, b"", rows,
                np.stack([models.margins(trained, rows), single]),
                models.probabilities(trained, rows), fraud_class=trained.fraud_class or "",
            )  # fmt: skip


def scikit_learn(names: Sequence[str]) -> Iterator[Example]:
    """Yield examples; the oracle is ``decision_function`` or ``predict_proba``."""
    import sklearn  # noqa: PLC0415 see above

    from tests.support.imports import scikit_learn_models as models  # noqa: PLC0415

    for name, each in models.configurations().items():
        if _chosen(name, names):
            made = models.example(each)
            yield Example(
                name, sklearn.__version__, made.file, b"", made.rows,
                NO_ROWS if made.sums is None else made.sums[None], made.probabilities,
                exact=made.sums is None, fraud_class=each.fraud_class or "",
            )  # fmt: skip


LIBRARIES = {
    "xgboost": xgboost, "lightgbm": lightgbm, "catboost": catboost, "scikit_learn": scikit_learn
}  # fmt: skip


def _unsupported(library: str) -> ModuleType:
    """Return the module of a library's unsupported models."""
    from importlib import import_module  # noqa: PLC0415 one library each

    return import_module(f"bench.imports_steps.unsupported.{library}")


def main() -> None:
    """Write the examples of the command line."""
    library, folder, *names = sys.argv[1:]
    number = 0
    for source in (LIBRARIES[library](names), _unsupported(library).examples()):
        for example in source:
            write(example, Path(folder) / f"{number:04d}.npz")
            number += 1
            sys.stdout.write(f"{example.name}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
