"""``stream-scorer train``: labelled transactions in, a model bundle out."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import JsonOptions
from stream_scorer.settings import MODELS_DIRECTORY

_DEFAULT_PLAN = "# Every key has its default; see docs/CONFIGURATION.md, section 'Plan'.\n"


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
    features: Annotated[
        Path | None, typer.Option(help="Feature list, .toml or .json; a manifest will do.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="Plan file or folder: currency, limits, delays; default: OUT/NAME's, if any."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the estimator; may be repeated.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="Days to begin with: handbook or handbook-long.")
    ] = "handbook",
    train_days: Annotated[
        str | None, typer.Option("--train", help="FIRST:LAST day that the model is fitted on.")
    ] = None,
    validation_days: Annotated[
        str | None,
        typer.Option("--validation", help="FIRST:LAST day that thresholds are chosen on."),
    ] = None,
    test_days: Annotated[
        str | None, typer.Option("--test", help="FIRST:LAST day that the quality is measured on.")
    ] = None,
    delay_days: Annotated[
        int | None, typer.Option(help="Days after which a label is known; 7 in the protocols.")
    ] = None,
    missed_fraud_cost: Annotated[
        str, typer.Option(help="amount, 20, 0.8*amount or 0.8*amount+20.")
    ] = "amount",
    review_cost: Annotated[float, typer.Option(help="Cost of one review.")] = 5.0,
    false_block_cost: Annotated[
        float, typer.Option(help="Cost of blocking a genuine transaction.")
    ] = 25.0,
    cards_per_day: Annotated[int, typer.Option(help="The k of CP@k.")] = 100,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap; 0 for no intervals.")] = 200,
    sort: Annotated[
        bool, typer.Option("--sort", help="Sort by event time first; else disorder is refused.")
    ] = False,
    most_rejected: Annotated[
        float, typer.Option(help="Share of the data, 0 to 1, that the stream may reject.")
    ] = 0.01,
    licence: Annotated[
        str | None, typer.Option(help="Under which the model may be used, as Apache-2.0.")
    ] = None,
    options: JsonOptions,
) -> None:
    """Train a model on labelled transactions and write its bundle OUT/NAME/VERSION.

    Without OUT/NAME/plan.toml, the plan that it was trained under is written there.
    """
    from stream_scorer.core.events.plan import Plan  # noqa: PLC0415 as above
    from stream_scorer.models.stores.deployment import plan_files  # noqa: PLC0415 as above
    from stream_scorer.training import run as training  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.training.days import split_for  # noqa: PLC0415 as above
    from stream_scorer.training.models import read_parameters  # noqa: PLC0415 as above
    from stream_scorer.training.report import report  # noqa: PLC0415 as above
    from stream_scorer.training.thresholds import read_costs  # noqa: PLC0415 as above

    beside = out / name / "plan.toml"
    named = plan or (beside.parent if beside.is_file() else None)
    chosen = None if named is None else plan_files(named)
    directory, manifest = training.train(
        training.TrainingJob(
            data=data, model=model, version=version, name=name, store=out,
            split=split_for(protocol, train_days, validation_days, test_days, delay_days),
            features=features, parameters=read_parameters(parameter or []),
            costs=read_costs(missed_fraud_cost, review_cost, false_block_cost),
            cards_per_day=cards_per_day, resamples=resamples,
            plan=Plan() if chosen is None else chosen.plan(),
            sort=sort, most_rejected=most_rejected, licence=licence,
        )
    )  # fmt: skip
    if not beside.exists():
        # Without it no other command takes the bundle: the plan is what it was trained under.
        texts = {"plan.toml": _DEFAULT_PLAN}
        if chosen is not None:
            texts = {"plan.toml": chosen.text, **chosen.parts}
        for file, text in texts.items():
            beside.with_name(file).write_text(text, encoding="utf-8")
    document = report(directory, manifest)
    options.show_fields(document, "Trained")
    if not options.as_json:
        store = shlex.quote(str(out))
        typer.echo(f"next: stream-scorer batch IN OUT --model {manifest.label} --store {store}")
