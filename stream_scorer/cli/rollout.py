"""``stream-scorer rollout``: begin a rollout, move it, take it back, and see where it is."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream_scorer.cli.options import ClusterJsonOptions, CommandGroup, Options, SignedOptions
from stream_scorer.cli.output import print_json, short_time
from stream_scorer.cli.rollout_drawing import draw
from stream_scorer.errors import SettingsError
from stream_scorer.rollout.operator.commands import Operator, control_log, event_time, operating
from stream_scorer.rollout.operator.old_options import OLD_OPTIONS
from stream_scorer.rollout.operator.reports import history as history_of
from stream_scorer.rollout.operator.reports import status as status_of
from stream_scorer.rollout.operator.template import template
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.plan_file import Strategy

app = CommandGroup(
    "Model versions in the stream: begin a rollout, move it, take it back, see where it is.",
    ClusterJsonOptions,
)
EffectiveOption = Annotated[
    str | None,
    typer.Option(
        "--effective-at",
        help="Event time from which it holds: 2026-11-25T10:00:00Z; immediately by default.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class OperatorOptions(SignedOptions):
    """Options of a command that is written to the control log."""

    def give(self, act: Callable[[Operator], dict[str, Any]]) -> None:
        """Read key and log, give a command, and print what was written."""
        signer = self.signer()
        with operating(self.connected(), signer, self.reason) as operator:
            document = act(operator)
        rows = [(name, document[name]) for name in ("sequence", "kind", "what", "signer", "at")]
        self.show_fields(document, "Written", rows)


class OldOptions(Options):
    """Options that are keys of the rollout plan now: hidden, and with a warning."""

    def __init__(self, **values: Any) -> None:
        self.given = {flag: values[_name(flag)] for flag in OLD_OPTIONS if values.get(_name(flag))}

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return one for each old option."""
        return [
            inspect.Parameter(
                _name(flag), inspect.Parameter.KEYWORD_ONLY, default=None,
                annotation=Annotated[old.kind, typer.Option(flag, hidden=True)],
            )
            for flag, old in OLD_OPTIONS.items()
        ]  # fmt: skip

    def warn(self) -> None:
        """Name the key to write instead of each option that was given."""
        for flag in self.given:
            typer.echo(
                f"stream-scorer: warning: {flag} will be removed: write {OLD_OPTIONS[flag].key} in "
                "a rollout plan — stream-scorer rollout template prints one",
                err=True,
            )


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


@app.command()
def start(
    *,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="TOML; rollout template prints one.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of a rollout that runs.")
    ] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Do not load the bundles first, as scorers will.")
    ] = False,
    options: OperatorOptions,
    old: OldOptions,
) -> None:
    """Begin a rollout by a rollout plan.

    Exit codes: 2: no plan; 3: a bundle is refused; 11: the control log refuses it, or a rollout
    runs.
    """
    from stream_scorer.rollout.operator.start import planned, verify  # noqa: PLC0415 scikit-learn loads slowly

    if plan is None and not old.given:
        raise SettingsError(
            "rollout start: no plan is given",
            "write one: stream-scorer rollout template canary > plan.toml, then give --plan",
        )
    old.warn()
    settings = options.connected()

    def begin(operator: Operator) -> dict[str, Any]:
        made = planned(settings, operator.state, plan, options.reason, old.given)
        if not unverified:
            for lacking in verify(settings, made, operator.state):
                typer.echo(
                    f"stream-scorer: warning: scorers without that --warm refuse this: {lacking}",
                    err=True,
                )
        return operator.start(made, replace=replace)

    options.give(begin)


@app.command(name="template")
def template_command(
    *, strategy: Annotated[Strategy, typer.Argument(help="How versions share the traffic.")]
) -> None:
    """Print a rollout plan with comments, for rollout start --plan."""
    typer.echo(template(strategy), nl=False)


@app.command()
def explore(
    *,
    key: Annotated[Path, typer.Option("--key", help="File with 32 secret random bytes.")],
    cap: Annotated[float, typer.Option("--cap", help="Largest expected loss per day.")],
    max_amount: Annotated[
        float, typer.Option("--max-amount", help="Larger amounts are never let through.")
    ],
    start: Annotated[str, typer.Option("--from", help="Event time of the first decision.")],
    end: Annotated[str, typer.Option("--to", help="Event time after the last decision.")],
    p: Annotated[
        float, typer.Option("--p", help="Wanted probability; lowered until the cap holds.")
    ] = 0.01,
    exponent: Annotated[
        int, typer.Option("--exponent", min=0, max=4, help="Of the currency: 2 for cents.")
    ] = 2,
    precision: Annotated[
        float, typer.Option("--precision", help="Assumed share of frauds among the BLOCKs.")
    ] = 0.99,
    options: ClusterJsonOptions,
) -> None:
    """Compute the plan's table explore from past decisions, and print what it would cost.

    Every would-be BLOCK counts as a lost fraud, so no labels are needed.
    """
    from stream_scorer.rollout.operator import explore as work  # noqa: PLC0415 pyarrow loads slowly

    first, last = event_time(start), event_time(end)
    if first is None or last is None:
        raise SettingsError("rollout explore: --from and --to are needed")
    order = work.ExploreOrder(key, cap, max_amount, p, first, last, exponent, precision=precision)
    document = work.explored(options.connected(), order)
    if options.as_json:
        print_json(document)
        return
    typer.echo(work.toml_of(document["explore"]))
    rows = [(name.replace("_", " "), value) for name, value in document.items()
            if name != "explore"]  # fmt: skip
    options.show_fields(document, "What it would cost and find", rows)


@app.command()
def status(*, options: ClusterJsonOptions) -> None:
    """Show the ramp, who decides for how many, each partition, and the last verdicts."""
    settings = options.connected()
    with control_log(settings) as log:
        document = status_of(settings, log)
    if options.as_json:
        print_json(document)
    else:
        draw(document)


@app.command()
def history(*, options: ClusterJsonOptions) -> None:
    """Show every command: who gave it, and whether it counts or why not."""
    found = history_of(options.connected())
    columns = ("number", "at", "kind", "what", "signer", "outcome")
    rows = [
        (
            str(row["sequence"] or "-"), short_time(row["at"]), row["kind"],
            f"{row['what']} ({row['reason']})".lstrip() if row["reason"] else row["what"],
            row["signer"], row["refused"] or "accepted",
        )
        for row in found
    ]  # fmt: skip
    options.show(found, columns, rows)


@app.command()
def step(
    *,
    stage: Annotated[
        int | None, typer.Option(min=0, help="Its place, from 0; default: next.")
    ] = None,
    percent: Annotated[float | None, typer.Option(help="The stage of this share, instead.")] = None,
    effective_at: EffectiveOption = None,
    options: OperatorOptions,
) -> None:
    """Move to a later stage of the ramp."""
    options.give(lambda operator: operator.step(stage, percent, event_time(effective_at)))


@app.command()
def switch(
    *,
    to: Annotated[
        Literal["blue", "green"] | None,
        typer.Option(help="Version that decides then; default: the one that does not decide now."),
    ] = None,
    effective_at: EffectiveOption = None,
    options: OperatorOptions,
) -> None:
    """Let the other version of a blue-green rollout decide."""
    options.give(lambda operator: operator.switch(to, event_time(effective_at)))


@app.command()
def promote(
    *,
    arm: Annotated[str | None, typer.Option(help="Default: the only candidate.")] = None,
    effective_at: EffectiveOption = None,
    options: OperatorOptions,
) -> None:
    """Make a candidate the champion, alone."""
    options.give(lambda operator: operator.promote(arm, event_time(effective_at)))


def _add_plain(name: str, what: str, act: Callable[[Operator], dict[str, Any]]) -> None:
    """Add a command that has only the shared options."""

    @app.command(name, help=what)
    def command(*, options: OperatorOptions) -> None:
        options.give(act)


def _add_answer(name: str, what: str, kind: CommandKind) -> None:
    """Add a command that answers what the controller proposes."""

    @app.command(name, help=what)
    def command(
        *,
        proposal: Annotated[
            int | None,
            typer.Option("--proposal", min=1, help="Its number; default: what waits now."),
        ] = None,
        options: OperatorOptions,
    ) -> None:
        options.give(lambda operator: operator.answer(kind, proposal))


_add_plain(
    "rollback",
    "Let the plan's champion decide everything again, from each partition's next offset on.",
    Operator.rollback,
)
_add_plain("pause", "Hold the rollout where it is; it can still be rolled back.", Operator.pause)
_add_plain("resume", "Let a paused rollout continue.", Operator.resume)
_add_answer("approve", "Do what the controller proposes.", CommandKind.APPROVE)
_add_answer("reject", "Do not do what the controller proposes.", CommandKind.REJECT)
