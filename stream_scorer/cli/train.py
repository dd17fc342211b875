"""``stream-scorer train``: labelled transactions in, a model bundle out."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.console import JsonOption, show
from stream_scorer.settings import MODELS_DIRECTORY


def train(
    *,
    data: Annotated[Path, typer.Option(help="Labelled transactions: .parquet, .csv, .jsonl.")],
    model: Annotated[
        str,
        typer.Option(
            help="hist_gradient_boosting, random_forest, decision_tree or logistic_regression."
        ),
    ],
    version: Annotated[str, typer.Option(help="Version of the new bundle, MAJOR.MINOR.PATCH.")],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "fraud",
    out: Annotated[Path, typer.Option(help="Model store.")] = MODELS_DIRECTORY,
    train_days: Annotated[
        str, typer.Option("--train", help="FIRST:LAST day that the model is fitted on.")
    ] = "2018-07-25:2018-07-31",
    validation_days: Annotated[
        str, typer.Option("--validation", help="FIRST:LAST day that thresholds are chosen on.")
    ] = "2018-08-01:2018-08-07",
    test_days: Annotated[
        str, typer.Option("--test", help="FIRST:LAST day that the quality is told for.")
    ] = "2018-08-08:2018-08-14",
    as_json: JsonOption = False,
) -> None:
    """Train a model on labelled transactions and write its bundle OUT/NAME/VERSION."""
    from stream_scorer.apps.train import Days, Order  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.apps.train import train as run  # noqa: PLC0415 as above

    directory, manifest = run(
        Order(
            data=data, model=model, version=version, name=name, store=out,
            train=Days.parse(train_days), validation=Days.parse(validation_days),
            test=Days.parse(test_days),
        )
    )  # fmt: skip
    told = manifest.training
    document = {
        "bundle": manifest.label,
        "directory": str(directory),
        "content_hash": manifest.content_hash,
        "review": manifest.thresholds.review,
        "block": manifest.thresholds.block,
        "train_rows": told.train.rows,
        "train_frauds": told.train.frauds,
        "test_rows": told.test.period.rows,
        "test_frauds": told.test.period.frauds,
        "auc": told.test.auc,
        "average_precision": told.test.average_precision,
        "review_or_block_rate": told.test.review_or_block_rate,
        "block_precision": told.test.block_precision,
    }
    show(as_json, document, ("", "value"), document.items(), title="Trained")
