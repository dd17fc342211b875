"""Options that several commands share: a command takes all of them as one parameter."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer import devkafka
from stream_scorer.cli.output import field_rows, print_json, print_table
from stream_scorer.errors import SettingsError
from stream_scorer.security.keys import passphrase_from, read_private
from stream_scorer.settings import Settings, load_settings

PlanOption = Annotated[
    Path | None,
    typer.Option(
        "--plan", help="Plan file, or folder with plan.toml and its parts; default: the model's."
    ),
]
WarmOption = Annotated[
    str | None,
    typer.Option("--warm", help="NAME:VERSION that is to decide later: keep what it needs, too."),
]
WhosePlanOption = Annotated[
    str, typer.Option("--model", help="Model whose plan is used: NAME or NAME:VERSION.")
]
StartOption = Annotated[
    Literal["earliest", "latest"] | None,
    typer.Option("--from", help="Where this group's first run begins; needed once."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the key's passphrase; or the variable STREAM_SCORER_KEY_PASSPHRASE.",
    ),
]
MOST_PER_SECOND = 1_000_000.0
"""The fastest pace that can be asked for; without one, a topic is fed at full speed."""
MOST_RECORDS = 2**31 - 1
WideOption = Annotated[bool, typer.Option("--wide", help="All columns, for a wide terminal.")]
InstanceOption = Annotated[
    str | None,
    typer.Option("--instance", help="Stable name of this instance, unique in the group."),
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a command that it takes as one parameter; each field is one option.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Paging(Options):
    ...     limit: int = 20
    >>> def show(*, options: Paging) -> None: ...
    >>> inspect.signature(expanded(show)).parameters["limit"].default
    20
    """

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return the options as parameters of a function."""
        return [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY,
                default=field.default, annotation=field.type,
            )
            for field in fields(cls)
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConfigOptions(Options):
    """Options of a command that reads the settings."""

    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with settings; see CONFIGURATION.md.")
    ] = None

    def settings(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
        """Return the settings; see :func:`settings_from`."""
        return settings_from(self.config, overrides=overrides)


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(ConfigOptions):
    """Options of a command that needs a cluster."""

    bootstrap: Annotated[
        str | None,
        typer.Option(
            "--bootstrap", help="host:port list of the cluster; default: settings, devkafka."
        ),
    ] = None

    def settings(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
        """Return the settings, whether they name a cluster or not; see :func:`settings_from`."""
        return settings_from(self.config, self.bootstrap, overrides)

    def connected(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
        """Return settings that name a cluster; see :func:`connected_settings`."""
        return connected_settings(self.config, self.bootstrap, overrides)


@dataclass(frozen=True, kw_only=True)
class JsonOptions(Options):
    """Options of a command that prints a report."""

    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document instead of a table.")
    ] = False

    def show(
        self,
        document: Mapping[str, Any] | Sequence[Any],
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        title: str = "",
        *,
        wide: bool = False,
    ) -> None:
        """Print one report: the document as JSON, or the rows as a table.

        Args:
            document: What ``--json`` prints, on one line.
            columns: Table headings.
            rows: Table cells.
            title: Table title.
            wide: Whether each row of the table is one line, however long.
        """
        if self.as_json:
            print_json(document)
        else:
            print_table(columns, rows, title, wide=wide)

    def show_fields(
        self,
        document: Mapping[str, Any],
        title: str = "",
        rows: Iterable[Sequence[object]] | None = None,
    ) -> None:
        """Print one document: as JSON, or as a table with a row for each of its values.

        Args:
            document: What ``--json`` prints, on one line.
            title: Table title.
            rows: Names and values of the table; None for all of the document's.
        """
        self.show(document, ("", "value"), field_rows(document) if rows is None else rows, title)


@dataclass(frozen=True, kw_only=True)
class ConfigJsonOptions(JsonOptions, ConfigOptions):
    """Options of a command that reads the settings and prints a report."""


@dataclass(frozen=True, kw_only=True)
class StoreOptions(ConfigJsonOptions):
    """Options of a command that reads the model store."""

    store: Annotated[
        Path | None, typer.Option("--store", help="Folder of bundles, instead of the settings'.")
    ] = None

    def settings(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
        """Return the settings; a named folder is also stronger than a URL in them."""
        given = {} if self.store is None else {"directory": self.store, "url": ""}
        return settings_from(self.config, overrides={**(overrides or {}), "models": given})


@dataclass(frozen=True, kw_only=True)
class ClusterJsonOptions(JsonOptions, ClusterOptions):
    """Options of a command that needs a cluster and prints a report."""


@dataclass(frozen=True, kw_only=True)
class SignedOptions(ClusterJsonOptions):
    """Options of a command that is written to a log of commands."""

    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the log.")] = ""
    key: Annotated[
        Path | None, typer.Option("--key", help="Operator's private key that signs the command.")
    ] = None
    passphrase_file: PassphraseOption = None

    def signer(self) -> Ed25519PrivateKey | None:
        """Return the key, read from its file; None if none was given."""
        if self.key is None:
            return None
        return read_private(self.key, passphrase_from(self.passphrase_file))


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function for the command line: its parameters of :class:`Options` one by one.

    What was given to the command's group counts for the command, too, unless it is given again.

    Args:
        function: A command.
    """
    parameters = inspect.signature(function).parameters.values()
    kinds = {
        each.name: each.annotation
        for each in parameters
        if isinstance(each.annotation, type) and issubclass(each.annotation, Options)
    }
    options = [option for kind in kinds.values() for option in kind.parameters()]
    names = {option.name for option in options}

    def command(**given: Any) -> None:
        context = given.pop(_CONTEXT.name)
        for option, value in _given_to_group(context, names).items():
            if not given[option]:
                given[option] = value
        for name, kind in kinds.items():
            given[name] = kind(
                **{option.name: given.pop(option.name) for option in kind.parameters()}
            )
        function(**given)

    own = [each for each in parameters if each.name not in kinds]
    return _with_parameters(functools.wraps(function)(command), [*own, *options, _CONTEXT])


class CommandGroup(typer.Typer):
    """A group of commands that take :class:`Options`, the group's or their own.

    Args:
        text: What the group is for.
        kind: The options that may be given before the command's name.
    """

    def __init__(self, text: str, kind: type[Options]) -> None:
        def keep(**given: Any) -> None:
            context = given.pop(_CONTEXT.name)
            # What was given to a group around this one counts, too.
            context.obj = {**(context.obj or {}), **{k: v for k, v in given.items() if v}}

        callback = _with_parameters(keep, [*kind.parameters(), _CONTEXT])
        super().__init__(help=text, no_args_is_help=True, callback=callback)

    def command(self, name: str | None = None, **attributes: Any) -> Callable[[Any], Any]:
        """Return a decorator that adds a function as a command; the function stays as it is."""
        add = super().command(name, **attributes)

        def decorate(function: Callable[..., None]) -> Callable[..., None]:
            add(expanded(function))
            return function

        return decorate


def _given_to_group(context: typer.Context, known: set[str]) -> dict[str, Any]:
    """Return the options that were given before the command's name, by parameter.

    Raises:
        typer.BadParameter: The command does not have one of them.
    """
    given = {name: value for name, value in (context.obj or {}).items() if value}
    group = context.parent
    while group is not None:
        for option in group.command.params:
            if option.name in given.keys() - known:
                raise typer.BadParameter(
                    f"{context.info_name} has no option {option.opts[0]}", context
                )
        group = group.parent
    return given


def _with_parameters(
    function: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Return the function, with parameters that the command line makes options of."""
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    function.__dict__["__signature__"] = inspect.Signature(parameters)
    return function


_CONTEXT = inspect.Parameter("called_in", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def settings_from(
    config: Path | None = None,
    bootstrap: str | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read the settings, with what flags gave on top.

    Args:
        config: ``--config``; stronger than the environment variable.
        bootstrap: ``--bootstrap``.
        overrides: Further flags as nested table; None values were not given.
    """
    table: dict[str, dict[str, Any]] = {"kafka": {"bootstrap": bootstrap}}
    for group, values in (overrides or {}).items():
        table.setdefault(group, {}).update(values)
    given = {
        group: {key: value for key, value in values.items() if value is not None}
        for group, values in table.items()
    }
    return load_settings({k: v for k, v in given.items() if v}, config=config)


def connected_settings(
    config: Path | None = None,
    bootstrap: str | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read the settings of a command that needs a cluster.

    Without an address, it is the devkafka that runs in this folder, and its schema registry
    unless the settings name one.

    Args:
        config: As :func:`settings_from`.
        bootstrap: As :func:`settings_from`.
        overrides: As :func:`settings_from`.

    Raises:
        SettingsError: No address is set and no devkafka runs.
    """
    settings = settings_from(config, bootstrap, overrides)
    for option in settings.kafka.unverified():
        typer.echo(
            f"stream-scorer: warning: kafka.client {option} is off: whoever is on the network can "
            "pose as the broker — remove it, and set ssl.ca.location",
            err=True,
        )
    fix = "give --bootstrap HOST:PORT, or start one: stream-scorer kafka start"
    return devkafka.connected(settings, fix)


def milliseconds(option: str, text: str) -> int:
    """Return a time in ms since the epoch; without a zone it is UTC.

    Raises:
        SettingsError: It is not an ISO 8601 time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{option} {text!r}: not a time", "write a date or a time, as in 2026-01-31T00:00:00Z"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return int(time.timestamp() * 1_000)
