"""``stream-scorer models``: shows and verifies the bundles in the store, and their signers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream_scorer.cli.options import (
    CommandGroup,
    ConfigJsonOptions,
    ConfigOptions,
    PassphraseOption,
    PlanOption,
    StoreOptions,
)
from stream_scorer.security.keys import passphrase_from

app = CommandGroup(
    "Model bundles: import, list, compare, sign, verify and validate them.", ConfigJsonOptions
)
VersionArgument = Annotated[
    str,
    typer.Argument(metavar="NAME:VERSION", help="The bundle; NAME alone is its highest version."),
]

CostsOption = Annotated[
    str, typer.Option(help="missed=0.8*amount+20,review=5,false_block=25; any may be left out.")
]
SortOption = Annotated[
    bool, typer.Option("--sort", help="Sort by event time first; else disorder is refused.")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        help="TOML file whose [labels] names the label columns; a file for train will do."
    ),
]


@app.command()
def keygen(
    *,
    out: Annotated[Path, typer.Option(help="Private key, mode 0600; its public one is OUT.pub.")],
    passphrase_file: PassphraseOption = None,
    options: ConfigJsonOptions,
) -> None:
    """Make a pair of Ed25519 keys. Nothing is written over.

    With a passphrase the private key is encrypted. Scorers need the public key alone.
    """
    from stream_scorer.models.commands import sign as model_signing  # noqa: PLC0415 scikit-learn loads slowly

    passphrase = passphrase_from(passphrase_file)
    made = model_signing.generate(options.settings(), out, passphrase)
    document = {
        "private_key": str(made.private),
        "encrypted": passphrase is not None,
        "public_key": str(made.public),
        "public_base64": made.public_base64,
        "key_id": made.key_id,
    }
    options.show_fields(document, "Keys")


@app.command()
def sign(
    *,
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="The bundle.")],
    key: Annotated[Path, typer.Option(help="Private key that `models keygen` made.")],
    passphrase_file: PassphraseOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the signature that is there.")
    ] = False,
    options: StoreOptions,
) -> None:
    """Verify a bundle as a scorer would, and write its signature.json.

    Exit code 3: the bundle is refused or signed already; 2: the key cannot be used.
    """
    from stream_scorer.models.commands import sign as model_signing  # noqa: PLC0415 scikit-learn loads slowly

    label, signer = model_signing.sign(
        options.settings(), model, key,
        passphrase_from(passphrase_file), replace=replace,
    )  # fmt: skip
    document = {"model": label, "key_id": signer.key_id, "trusted_as": signer.name}
    options.show_fields(document, "Signed")


@app.command()
def verify(*, model: VersionArgument, options: StoreOptions) -> None:
    """Verify a bundle as a scorer would at its start: files, signature, types, golden rows.

    Exit code 3 and one line with the reason when it is refused.
    """
    from stream_scorer.models.commands.report import verified  # noqa: PLC0415 scikit-learn loads slowly

    document = verified(options.settings(), model)
    options.show_fields(document, "Verified")


@app.command()
def sign_plan(
    *,
    plan: Annotated[Path, typer.Argument(metavar="FILE", help="The plan, such as plan.toml.")],
    key: Annotated[Path, typer.Option("--key", help="Private key, of models keygen.")],
    passphrase_file: PassphraseOption = None,
    options: ConfigOptions,
) -> None:
    """Sign a plan file: writes FILE.sig next to it, which production mode asks for."""
    from stream_scorer.models.commands import sign as model_signing  # noqa: PLC0415 scikit-learn loads slowly

    written = model_signing.sign_plan_file(
        options.settings(), plan, key, passphrase_from(passphrase_file)
    )
    typer.echo(f"{written}")


@app.command(name="list")
def list_command(*, options: StoreOptions) -> None:
    """Show every bundle: who signed it, its content hash, when and on which days it was trained.

    By manifest and signature alone; `models verify` reads the other files, too.
    """
    from stream_scorer.models.commands.report import listed  # noqa: PLC0415 scikit-learn loads slowly

    found = listed(options.settings())
    rows = [
        [
            f"{each['name']}:{each['version']}",
            f"refused: {each['refused']}" if each["refused"] else _signer(each),
            each.get("content_hash", "-")[:12],
            (each.get("trained_at") or "-")[:10],
            (each.get("trained_on") or "-").replace(":", " to "),
        ]
        for each in found
    ]
    columns = ("model", "signed by", "content", "trained at", "trained on")
    options.show(found, columns, rows)


@app.command(name="show")
def show_command(*, model: VersionArgument, options: StoreOptions) -> None:
    """Show a bundle's manifest, metrics and features, and who signed it.

    Exit code 3 when manifest or signature are refused.
    """
    from stream_scorer.models.commands import report as model_reports  # noqa: PLC0415 scikit-learn loads slowly

    document = model_reports.shown(options.settings(), model)
    options.show_fields(document, model, model_reports.as_rows(document))


@app.command()
def diff(
    *,
    old: Annotated[str, typer.Argument(metavar="OLD", help="NAME:VERSION.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="NAME:VERSION.")],
    options: StoreOptions,
) -> None:
    """Show in what two versions differ: features, thresholds, metrics, data, libraries.

    Exit code 3 when a manifest or signature is refused.
    """
    from stream_scorer.models.commands import report as model_reports  # noqa: PLC0415 scikit-learn loads slowly

    document = model_reports.compared(options.settings(), old, new)
    rows = model_reports.difference_rows(document)
    options.show(document, ("", document["old"], document["new"]), rows)


@app.command()
def validate(*, model: VersionArgument, options: StoreOptions) -> None:
    """Score a bundle's golden rows again with the libraries that are installed.

    With the bundle's own versions, their sums must have the same bits. With others, no decision may
    change. The report names the rule. Exit code 3: the rule is broken, or the bundle is refused.
    """
    from stream_scorer.models.commands import validate as model_validation  # noqa: PLC0415 scikit-learn loads slowly

    found = model_validation.validate(options.settings(), model)
    document = {**asdict(found), "promise": found.promise, "held": not found.broken}
    options.show_fields(document, "Validated")
    model_validation.refuse_broken(found)


@app.command()
def upgrade(
    *,
    model: VersionArgument,
    version: Annotated[str, typer.Option(help="Version of the new bundle, MAJOR.MINOR.PATCH.")],
    out: Annotated[
        Path | None, typer.Option(help="Store of the new bundle; default: that of the old one.")
    ] = None,
    engine: Annotated[
        int | None,
        typer.Option(
            help="Engine of the new bundle, 1, 2 or 3; default: that of the old one. With 3, "
            "probabilities have the same bits on every machine."
        ),
    ] = None,
    options: StoreOptions,
) -> None:
    """Write a bundle again: in format 2, or for another engine.

    Without --engine, for a bundle of format 1: a scorer loads the new one without scikit-learn, and
    it has the same decisions. With --engine, a score's last bits may change: the report counts
    golden rows with other scores or outcomes. The old version does not change. Sign the new one.

    Exit code 3: the bundle is refused, has this engine or format already, or the new version
    exists.
    """
    from stream_scorer.models.commands import upgrade as job  # noqa: PLC0415 scikit-learn loads slowly

    document = job.upgrade(options.settings(), model, version, out, engine)
    options.show_fields(document, "Upgraded")


@app.command()
def reference(
    *,
    model: VersionArgument,
    data: Annotated[Path, typer.Option(help="Labelled transactions, as for train.")],
    version: Annotated[str, typer.Option(help="Version of the new bundle, MAJOR.MINOR.PATCH.")],
    out: Annotated[
        Path | None, typer.Option(help="Store of the new bundle; default: that of the old one.")
    ] = None,
    plan: PlanOption = None,
    train: Annotated[
        str | None,
        typer.Option(help="FIRST:LAST day of the training; default: as the manifest states."),
    ] = None,
    held: Annotated[
        str | None,
        typer.Option(
            help="FIRST:LAST day for score and outcome, outside of the training; default: the "
            "manifest's validation and test days."
        ),
    ] = None,
    sort: SortOption = False,
    most_rejected: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the data that the stream may reject.")
    ] = 0.01,
    labels: LabelsOption = None,
    options: StoreOptions,
) -> None:
    """Write a version again with reference.json, with which drift detection compares the stream.

    The new version has the same decisions. The old one does not change. Sign the new one again.

    Exit code 2: data, days or plan are refused; 3: the bundle is refused, or the new version
    exists.
    """
    from stream_scorer.models.commands import reference as job  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.training.days import Days  # noqa: PLC0415 as above
    from stream_scorer.training.job_file import read_labels_file  # noqa: PLC0415 as above

    document = job.add_reference(
        options.settings(),
        job.BundleReferenceJob(
            model=model, data=data, version=version, out=out, plan=plan,
            train=None if train is None else Days.parse(train),
            held=None if held is None else Days.parse(held),
            sort=sort, most_rejected=most_rejected,
            labels=None if labels is None else read_labels_file(labels),
        ),
        lambda day: typer.echo(f"counted {day}", err=True),
    )  # fmt: skip
    options.show_fields(document, "Reference")


@app.command(name="import")
def import_command(
    *,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The model file that its library wrote; or mlflow:models:/NAME@ALIAS, or "
            "mlflow:models:/NAME/VERSION, of the server at MLFLOW_TRACKING_URI.",
        ),
    ],
    features: Annotated[
        Path, typer.Option(help="Feature list, .toml or .json, in the model's order.")
    ],
    validation: Annotated[
        Path, typer.Option(help="Labelled transactions that the model was not fitted on.")
    ],
    version: Annotated[str, typer.Option(help="Version of the new bundle, MAJOR.MINOR.PATCH.")],
    plan: Annotated[
        Path | None, typer.Option(help="Plan file or folder; default: OUT/NAME's, if any.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "fraud",
    out: Annotated[
        Path | None, typer.Option(help="Model store; default: the store in the settings.")
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help="REVIEW:BLOCK, as 0.5:0.9; default: the cheapest on the data."),
    ] = None,
    costs: CostsOption = "",
    days: Annotated[
        str | None,
        typer.Option(help="FIRST:LAST day to use; default: all with a complete history."),
    ] = None,
    rounds: Annotated[
        Literal["best", "all"] | None,
        typer.Option(help="Rounds of an early-stopped model; such a model needs the choice."),
    ] = None,
    fraud_class: Annotated[
        str | None, typer.Option(help="Label of the fraud class, if it is not the label 1.")
    ] = None,
    missing: Annotated[
        float | None, typer.Option(help="A number that is missing for the model, besides NaN.")
    ] = None,
    cards_per_day: Annotated[int, typer.Option(min=1, help="The k of CP@k.")] = 100,
    resamples: Annotated[
        int, typer.Option(min=0, help="Of the bootstrap; 0 for no intervals.")
    ] = 200,
    sort: SortOption = False,
    most_rejected: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the data that the stream may reject.")
    ] = 0.01,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the model, for example Apache-2.0.")
    ] = None,
    labels: LabelsOption = None,
    engine: Annotated[
        int | None,
        typer.Option(
            help="Engine of the bundle, 1, 2 or 3; default: 2 if the plan has a label policy, "
            "otherwise 1. docs/MODELS.md explains them."
        ),
    ] = None,
    options: StoreOptions,
) -> None:
    """Import a model that another library trained, and write its bundle OUT/NAME/VERSION.

    The library is found by the file's content, and is not needed. Without --thresholds, the
    decisions on the validation data cost least. Without OUT/NAME/plan.toml, the plan is written
    there. For a model of an MLflow server, only its own library's file is downloaded.

    Exit code 2: features, plan or data are refused, or the server does not have the model; 3: the
    model file is refused; 5: the server does not answer.
    """
    from stream_scorer.models.commands import import_model as job  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.models.commands.thresholds import read_cost_list  # noqa: PLC0415 as above
    from stream_scorer.models.importing.imported import ImportOptions  # noqa: PLC0415 as above
    from stream_scorer.models.importing.mlflow_registry import (  # noqa: PLC0415 as above
        reference as registered,
    )
    from stream_scorer.models.stores import new_plan  # noqa: PLC0415 as above
    from stream_scorer.models.stores.remote import folder_for  # noqa: PLC0415 as above
    from stream_scorer.training.days import Days  # noqa: PLC0415 as above
    from stream_scorer.training.job_file import read_labels_file  # noqa: PLC0415 as above

    store = folder_for(out, options.settings().models)
    beside = store / name / "plan.toml"
    chosen = new_plan.plan_files_for(plan, None, beside)
    directory, manifest = job.import_model(
        job.ImportJob(
            file=Path(file), features=features, validation=validation, version=version, name=name,
            store=store, plan=chosen.plan(), options=ImportOptions(rounds, fraud_class, missing),
            thresholds=None if thresholds is None else job.read_thresholds(thresholds),
            costs=read_cost_list(costs), days=None if days is None else Days.parse(days),
            cards_per_day=cards_per_day, resamples=resamples, sort=sort,
            most_rejected=most_rejected, licence=licence,
            labels=None if labels is None else read_labels_file(labels),
            registered=(
                registered.read_reference(file) if file.startswith(registered.PREFIX) else None
            ),
            plan_text=chosen.text, mapping_text=chosen.parts.get("events.toml"),
            engine=engine,
        )
    )  # fmt: skip
    new_plan.place(chosen, beside)
    options.show_fields(job.report(directory, manifest), "Imported")


@app.command()
def thresholds(
    *,
    model: VersionArgument,
    data: Annotated[Path, typer.Option(help="Labelled transactions, as for train.")],
    budget: Annotated[
        str | None,
        typer.Option(
            help="Mean number of reviews, such as 400/day; default: of the plan's policy."
        ),
    ] = None,
    costs: CostsOption = "",
    days: Annotated[
        str | None,
        typer.Option(help="FIRST:LAST day to choose on; default: all with a complete history."),
    ] = None,
    check_days: Annotated[
        int, typer.Option(min=0, help="Days of the data after them that the choice is checked on.")
    ] = 60,
    plan: PlanOption = None,
    out: Annotated[Path, typer.Option(help="The policy to write.")] = Path("policy.toml"),
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of files that are there.")
    ] = False,
    sort: SortOption = False,
    most_rejected: Annotated[
        float, typer.Option(help="Share of the data, 0 to 1, that the stream may reject.")
    ] = 0.01,
    labels: LabelsOption = None,
    options: StoreOptions,
) -> None:
    """Choose thresholds of a version from data, and write a policy.toml; nothing is trained.

    With a budget, the mean number of reviews per day on the data is the budget, as closely as the
    scores allow. Without one, the decisions cost least.

    Exit code 2: data, plan or budget are refused; 3: the bundle is refused.
    """
    from stream_scorer.models.commands import thresholds as job  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.training.days import Days  # noqa: PLC0415 as above
    from stream_scorer.training.job_file import read_labels_file  # noqa: PLC0415 as above

    document = job.choose_thresholds_by(
        options.settings(),
        job.ThresholdJob(
            model=model, data=data, out=out, plan=plan,
            budget=None if budget is None else job.read_budget(budget),
            costs=job.read_cost_list(costs),
            days=None if days is None else Days.parse(days),
            check_days=check_days, sort=sort, most_rejected=most_rejected, replace=replace,
            labels=None if labels is None else read_labels_file(labels),
        ),
    )  # fmt: skip
    if options.as_json:
        options.show_fields(document)
        return
    flat = {key: value for key, value in document.items() if not isinstance(value, dict | list)}
    for group in ("before", "check"):
        flat |= {f"{group}: {name}": value for name, value in (document[group] or {}).items()}
    curve = document["curve"]
    options.show_fields(document, "Thresholds", list(flat.items()))
    options.show(curve, _CURVE, [[point[name] for name in _CURVE] for point in curve], "Curve")


_CURVE = (
    "reviews_per_day", "blocks_per_day", "precision", "recall", "cost_per_day", "review", "block",
)  # fmt: skip


def _signer(bundle: Mapping[str, Any]) -> str:
    """Return who signed a bundle: a trusted name, an unknown key, or that it is unsigned."""
    if bundle["signature"] == "trusted":
        return str(bundle["signed_by"])
    return f"unknown key {bundle['key_id']}" if bundle["key_id"] else "unsigned"
