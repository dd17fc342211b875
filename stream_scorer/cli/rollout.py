"""``stream-scorer rollout``: begin a rollout, move it, take it back, and see where it is."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.cli.console import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    PassphraseOption,
    connected_settings,
    show,
)
from stream_scorer.cli.options import CommandGroup, Options
from stream_scorer.cli.rollout_drawing import draw
from stream_scorer.errors import SettingsError
from stream_scorer.rollout.operator.commands import Operator, control_log, event_time, operating
from stream_scorer.rollout.operator.old_options import OLD_OPTIONS
from stream_scorer.rollout.operator.reports import history as history_of
from stream_scorer.rollout.operator.reports import status as status_of
from stream_scorer.rollout.operator.template import template
from stream_scorer.rollout.plan.command_kinds import Kind
from stream_scorer.rollout.plan.plan_file import Strategy
from stream_scorer.security.keys import passphrase_from, read_private

app = CommandGroup(
    help="Model versions in the stream: begin a rollout, move it, take it back, see where it is.",
    no_args_is_help=True,
)
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="Operator's private key that signs the command.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the log.")]
EffectiveOption = Annotated[
    str | None,
    typer.Option(
        "--effective-at",
        help="Event time from which it holds, such as 2026-11-25T10:00:00Z; at once by default.",
    ),
]
ProposalOption = Annotated[
    int | None, typer.Option("--proposal", min=1, help="Its number; default: what waits now.")
]


@contextmanager
def _operator(
    config: Path | None, bootstrap: str | None, key: Path | None, passphrase_file: Path | None,
    reason: str,
) -> Iterator[Operator]:  # fmt: skip
    """Read key and log."""
    settings = connected_settings(config, bootstrap)
    with operating(settings, _signing(key, passphrase_file), reason) as operator:
        yield operator


def _signing(key: Path | None, passphrase_file: Path | None) -> Ed25519PrivateKey | None:
    return None if key is None else read_private(key, passphrase_from(passphrase_file))


def _told(as_json: bool, document: dict[str, Any]) -> None:  # noqa: FBT001 it is the flag itself
    """Print what was written."""
    rows = [(name, document[name]) for name in ("sequence", "kind", "what", "signer", "at")]
    show(as_json, document, ("", "value"), rows, title="Written")


class OldOptions(Options):
    """Options that are keys of the plan file now: hidden, and with a warning."""

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
                "a plan file — stream-scorer rollout template prints one",
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
    reason: ReasonOption = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of a rollout that runs.")
    ] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Do not load the bundles first, as scorers will.")
    ] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    old: OldOptions,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a rollout by a plan file.

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
    settings = connected_settings(config, bootstrap)
    with operating(settings, _signing(key, passphrase_file)) as operator:
        made = planned(settings, operator.state, plan, reason, old.given)
        if not unverified:
            verify(settings, made)
        _told(as_json, operator.start(made, replace=replace))


@app.command(name="template")
def template_command(
    *, strategy: Annotated[Strategy, typer.Argument(help="How versions share the traffic.")]
) -> None:
    """Print a plan file with comments, for rollout start --plan."""
    typer.echo(template(strategy), nl=False)


@app.command()
def status(
    *, config: ConfigOption = None, bootstrap: BootstrapOption = None, as_json: JsonOption = False
) -> None:
    """Show the ramp, who decides for how many, each partition, and the last verdicts."""
    settings = connected_settings(config, bootstrap)
    with control_log(settings) as log:
        document = status_of(settings, log)
    draw(as_json, document)


@app.command()
def history(
    *, config: ConfigOption = None, bootstrap: BootstrapOption = None, as_json: JsonOption = False
) -> None:
    """Show every command: who gave it, and whether it counts or why not."""
    with control_log(connected_settings(config, bootstrap)) as log:
        found = history_of(log)
    columns = ("offset", "number", "at", "kind", "what", "signer", "outcome")
    rows = [
        (
            row["offset"], row["sequence"] or "-", row["at"] or "-", row["kind"] or "-",
            row["what"] + (f" ({row['reason']})" if row["reason"] else ""),
            row["signer"] or "-", row["refused"] or "accepted",
        )
        for row in found
    ]  # fmt: skip
    show(as_json, found, columns, rows)


@app.command()
def step(
    *,
    stage: Annotated[
        int | None, typer.Option(min=0, help="Its place, from 0; default: next.")
    ] = None,
    percent: Annotated[float | None, typer.Option(help="The stage of this share, instead.")] = None,
    effective_at: EffectiveOption = None,
    reason: ReasonOption = "",
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on to a later stage of the ramp."""
    with _operator(config, bootstrap, key, passphrase_file, reason) as operator:
        _told(as_json, operator.step(stage, percent, event_time(effective_at)))


@app.command()
def switch(
    *,
    to: Annotated[
        Literal["blue", "green"] | None, typer.Option(help="Default: who does not decide now.")
    ] = None,
    effective_at: EffectiveOption = None,
    reason: ReasonOption = "",
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the other colour of a blue-green rollout decide."""
    with _operator(config, bootstrap, key, passphrase_file, reason) as operator:
        _told(as_json, operator.switch(to, event_time(effective_at)))


@app.command()
def promote(
    *,
    arm: Annotated[str | None, typer.Option(help="Default: the only candidate.")] = None,
    effective_at: EffectiveOption = None,
    reason: ReasonOption = "",
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a candidate the champion, alone."""
    with _operator(config, bootstrap, key, passphrase_file, reason) as operator:
        _told(as_json, operator.promote(arm, event_time(effective_at)))


def _by_itself(name: str, what: str, act: Callable[[Operator], dict[str, Any]]) -> None:
    """Add a command that says no more than its name."""

    @app.command(name, help=what)
    def command(
        *,
        reason: ReasonOption = "",
        key: KeyOption = None,
        passphrase_file: PassphraseOption = None,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
        as_json: JsonOption = False,
    ) -> None:
        with _operator(config, bootstrap, key, passphrase_file, reason) as operator:
            _told(as_json, act(operator))


def _answering(name: str, what: str, kind: Kind) -> None:
    """Add a command that answers what the controller proposes."""

    @app.command(name, help=what)
    def command(
        *,
        proposal: ProposalOption = None,
        reason: ReasonOption = "",
        key: KeyOption = None,
        passphrase_file: PassphraseOption = None,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
        as_json: JsonOption = False,
    ) -> None:
        with _operator(config, bootstrap, key, passphrase_file, reason) as operator:
            _told(as_json, operator.answer(kind, proposal))


_by_itself(
    "rollback",
    "Let the plan's champion decide everything again, from each partition's next offset on.",
    Operator.rollback,
)
_by_itself("pause", "Hold the rollout where it is; it can still be rolled back.", Operator.pause)
_by_itself("resume", "Let a rollout that was paused go on.", Operator.resume)
_answering("approve", "Do what the controller proposes.", Kind.APPROVE)
_answering("reject", "Do not do what the controller proposes.", Kind.REJECT)
