"""``stream-scorer train``: labelled transactions in, a model bundle out."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from stream_scorer.cli.options import JsonOptions
from stream_scorer.errors import SettingsError
from stream_scorer.settings import load_settings

_DEFAULTS: Final[Mapping[str, Any]] = {
    "name": "fraud", "out": None, "features": None, "plan": None, "events": None,
    "parameter": {}, "protocol": "handbook", "train": None, "validation": None, "test": None,
    "delay_days": None, "missed_fraud_cost": "amount", "review_cost": 5.0,
    "false_block_cost": 25.0, "cards_per_day": 100, "resamples": 200, "sort": False,
    "most_rejected": 0.01, "licence": None, "labels": None, "matured": False, "engine": None,
}  # fmt: skip
_NEEDED: Final = ("data", "model", "version")


def train(
    *,
    job: Annotated[
        Path | None,
        typer.Argument(
            metavar="[JOB]", help="TOML file with these options as keys; options are stronger."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled transactions: .parquet, .csv, .jsonl, .avro; or the folder of a "
            "dataset. Required."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="hist_gradient_boosting, random_forest, decision_tree or logistic_regression. "
            "Required."
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the new bundle, MAJOR.MINOR.PATCH. Required.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: fraud.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Model store; default: the store in the settings.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Feature list, .toml or .json; a manifest will do.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="Plan file or folder: currency, limits, delays; default: OUT/NAME's, if any."
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(help="Mapping of the data's columns, instead of the plan's events.toml."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the estimator; may be repeated.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Days to begin with: handbook (the default), handbook-long or latest."),
    ] = None,
    train_days: Annotated[
        str | None,
        typer.Option(
            "--train",
            help="FIRST:LAST day that the model is fitted on: dates, or end-50:end-21, counted "
            "back from the last day of the data.",
        ),
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
    matured: Annotated[
        bool | None,
        typer.Option(
            "--matured/--not-matured",
            help="All labels are known: the test days may follow immediately.",
        ),
    ] = None,
    missed_fraud_cost: Annotated[
        str | None,
        typer.Option(help="amount (the default), 20, 0.8*amount or 0.8*amount+20."),
    ] = None,
    review_cost: Annotated[
        float | None, typer.Option(help="Cost of one review; default: 5.")
    ] = None,
    false_block_cost: Annotated[
        float | None, typer.Option(help="Cost of blocking a genuine transaction; default: 25.")
    ] = None,
    cards_per_day: Annotated[int | None, typer.Option(help="The k of CP@k; default: 100.")] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Of the bootstrap; 0 for no intervals; default: 200.")
    ] = None,
    sort: Annotated[
        bool | None,
        typer.Option(
            "--sort/--no-sort", help="Sort by event time first; else disorder is refused."
        ),
    ] = None,
    most_rejected: Annotated[
        float | None,
        typer.Option(help="Share of the data, 0 to 1, that the stream may reject; default: 0.01."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the model, for example Apache-2.0.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="TOML file whose [labels] names the label columns; JOB may have it, too."
        ),
    ] = None,
    engine: Annotated[
        int | None,
        typer.Option(
            help="Engine of the bundle, 1, 2 or 3; default: that of a dataset; for a file 2 if the "
            "plan has a label policy, otherwise 1. docs/MODELS.md explains them."
        ),
    ] = None,
    options: JsonOptions,
) -> None:
    """Train a model on labelled transactions and write its bundle OUT/NAME/VERSION.

    JOB has the same options as keys: review_cost = 5.0 is --review-cost 5.
    Without OUT/NAME/plan.toml, the plan that it was trained under is written there.
    """
    from stream_scorer.models.stores import new_plan  # noqa: PLC0415 it loads slowly
    from stream_scorer.models.stores.remote import folder_for  # noqa: PLC0415 as above
    from stream_scorer.training import run as training  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.training.card import report  # noqa: PLC0415 as above
    from stream_scorer.training.days import split_for  # noqa: PLC0415 as above
    from stream_scorer.training.job_file import read_labels_file  # noqa: PLC0415 as above
    from stream_scorer.training.models import read_parameters  # noqa: PLC0415 as above
    from stream_scorer.training.thresholds import read_costs  # noqa: PLC0415 as above

    flags = {
        "data": data, "model": model, "version": version, "name": name, "out": out,
        "features": features, "plan": plan, "events": events, "protocol": protocol,
        "train": train_days, "validation": validation_days, "test": test_days,
        "delay_days": delay_days, "missed_fraud_cost": missed_fraud_cost,
        "review_cost": review_cost, "false_block_cost": false_block_cost,
        "cards_per_day": cards_per_day, "resamples": resamples, "sort": sort,
        "most_rejected": most_rejected, "licence": licence,
        "labels": None if labels is None else read_labels_file(labels), "matured": matured,
        "engine": engine,
    }  # fmt: skip
    given = _given(job, flags)
    parameters = given["parameter"] | read_parameters(parameter or [])
    store = given["out"] or folder_for(None, load_settings().models)
    beside = store / given["name"] / "plan.toml"
    chosen = new_plan.plan_files_for(given["plan"], given["events"], beside)
    directory, manifest = training.train(
        training.TrainingJob(
            data=given["data"], model=given["model"], version=given["version"],
            name=given["name"], store=store,
            split=replace(
                split_for(
                    given["protocol"], given["train"], given["validation"], given["test"],
                    given["delay_days"],
                ),
                matured=given["matured"],
            ),
            features=given["features"], parameters=parameters,
            costs=read_costs(
                given["missed_fraud_cost"], given["review_cost"], given["false_block_cost"]
            ),
            cards_per_day=given["cards_per_day"], resamples=given["resamples"],
            plan=chosen.plan(), sort=given["sort"], most_rejected=given["most_rejected"],
            licence=given["licence"], labels=given["labels"], engine=given["engine"],
        )
    )  # fmt: skip
    new_plan.place(chosen, beside)
    document = report(directory, manifest)
    options.show_fields(document, "Trained")
    if not options.as_json:
        where = shlex.quote(str(store))
        typer.echo(f"next: stream-scorer batch IN OUT --model {manifest.label} --store {where}")


def _given(job: Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return what options say, else the file, else the defaults.

    Raises:
        SettingsError: The file cannot be read, or what has no default is missing.
    """
    from stream_scorer.training.job_file import read_job_file  # noqa: PLC0415 as above

    given = dict(_DEFAULTS)
    given |= {} if job is None else read_job_file(job)
    given |= {name: value for name, value in flags.items() if value is not None}
    for name in _NEEDED:
        if name not in given:
            raise SettingsError(
                f"train: {name} is missing", f"give --{name}, or {name} in a file: train JOB.toml"
            )
    return given
