"""``stream-scorer retrain``: train and propose new versions; the grant that allows it."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_scorer.cli.options import ClusterJsonOptions, ClusterOptions, CommandGroup
from stream_scorer.cli.output import field_rows, print_json, print_table
from stream_scorer.cli.rollout import OperatorOptions
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.store import small_text
from stream_scorer.nesting import parse_toml
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant
from stream_scorer.rollout.plan.strict_parsing import read

if TYPE_CHECKING:
    from stream_scorer.telemetry import Event

app = CommandGroup(
    "Retraining: train a new version when the model gets worse, and propose it within a grant.",
    ClusterJsonOptions,
)
RulesOption = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        help="When and how; see docs/RETRAINING.md. Without it, performance.retrain_rules, else "
        "retrain.toml.",
    ),
]


@app.command()
def run(*, rules: RulesOption = None, options: ClusterOptions) -> None:
    """Retrain when the loss rises, by the schedule, or when `retrain once` asks.

    Exit codes: as those of run; 2 where there is no retrain.key or another process has the folder;
    11 where the control log is not complete.
    """
    from stream_scorer.retraining.run.process import run_retraining  # noqa: PLC0415 scikit-learn loads slowly

    run_retraining(options.connected(), rules)


@app.command()
def once(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")],
    rules: RulesOption = None,
    options: ClusterJsonOptions,
) -> None:
    """Retrain now, if no guard holds it back; where `retrain run` runs, ask it.

    Exit codes: 2: no retrain.key; 11: a guard holds it back, or the control log refuses.
    """
    from stream_scorer.retraining.run.once import retrain_once  # noqa: PLC0415 as above

    def told(event: "Event") -> None:
        step = getattr(event, "step", None)
        if step is not None:
            typer.echo(f"retrain: {step}", err=True)

    document = retrain_once(options.connected(), rules, reason, told)
    document.pop("trials", None)
    options.show_fields(document, "Retraining", field_rows(document))


@app.command()
def status(*, rules: RulesOption = None, options: ClusterJsonOptions) -> None:
    """Show the step, the trigger, each guard and the grant."""
    from stream_scorer.retraining.run.reports import status as status_of  # noqa: PLC0415 as above

    document = status_of(options.connected(), rules)
    if options.as_json:
        print_json(document)
        return
    guards = document.pop("guards")
    options.show_fields(document, "Retraining", field_rows(document))
    rows = [(g["name"], "passed" if g["passed"] else "HELD", g["value"], g["needed"])
            for g in guards]  # fmt: skip
    print_table(("guard", "", "found", "needs"), rows, "Guards")


@app.command()
def history(*, options: ClusterJsonOptions) -> None:
    """Show the retrainings of this host that have ended."""
    from stream_scorer.retraining.run.reports import history_of  # noqa: PLC0415 as above

    document = history_of(options.settings())
    rows = [
        (each["number"], _iso(each["began_at"]), each["trigger"], each["step"],
         each["version"], each["reason"]) for each in document
    ]  # fmt: skip
    columns = ("number", "began", "trigger", "result", "version", "reason")
    options.show(document, columns, rows, "Retrainings")


@app.command()
def grant(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML with the grant's limits.")],
    options: OperatorOptions,
) -> None:
    """Let a trainer's key begin rollouts, within the limits of FILE; an operator signs it.

    Exit codes: 2: FILE is not a grant; 11: the control log refuses it.
    """
    wanted = grant_of(file, options.reason)
    options.give(lambda operator: operator.grant(wanted))


@app.command()
def revoke(
    *,
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Of the grant.")],
    options: OperatorOptions,
) -> None:
    """End a grant. A rollout that it began continues: `rollout rollback` ends that.

    Exit codes: 11: there is no such grant, or it was revoked.
    """
    options.give(lambda operator: operator.revoke(number))


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def grant_of(file: Path, reason: str) -> RetrainGrant:
    """Read a grant.

    Args:
        file: TOML; ``expires_at`` may be a date and time with its zone.
        reason: Why, for people.

    Raises:
        SettingsError: Unreadable, or a key is unknown, missing or wrong; names the key.
    """
    try:
        table: dict[str, Any] = parse_toml(small_text(file))
        if isinstance(when := table.get("expires_at"), date):
            if not isinstance(when, datetime) or when.tzinfo is None:
                raise ValueError("expires_at: needs a date and time with its zone, such as Z")  # noqa: TRY301 as any wrong value
            table["expires_at"] = round(when.timestamp() * 1_000)
        return read(RetrainGrant, {"reason": reason, **table})
    except OSError as error:
        raise SettingsError(f"grant {file}: {error.strerror}", "name a TOML file") from error
    except (ValueError, OverflowError) as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"grant {file}: {what}", "see docs/RETRAINING.md") from error
