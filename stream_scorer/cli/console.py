"""What the command files share: common options, settings from them, tables or JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from stream_scorer import devkafka
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Settings, load_settings
from stream_scorer.terminal_text import printable

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap", help="host:port list of the cluster; default: settings, devkafka."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; see CONFIGURATION.md.")
]

PlanOption = Annotated[
    Path | None, typer.Option("--plan", help="Plan file; default: plan.toml of the model.")
]
WarmOption = Annotated[
    str | None,
    typer.Option("--warm", help="NAME:VERSION that is to decide later: keep what it needs, too."),
]
WhosePlanOption = Annotated[
    str, typer.Option("--model", help="Whose plan holds: NAME or NAME:VERSION.")
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
InstanceOption = Annotated[
    str | None,
    typer.Option("--instance", help="Stable name of this instance, unique in the group."),
]


class TerminalConsole(Console):
    """A console that prints text as it is: no markup, no emoji codes, no control characters.

    Cells and lines from outside go through :func:`printable` before, so that their width is right
    and a line break in them starts no line. What has not gone through it is escaped here.

    Args:
        stderr: Whether to print to stderr instead of stdout.
        soft_wrap: Whether long lines are left to the terminal.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(
            stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, with control characters in texts escaped."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                safe = "\n".join(printable(line) for line in segment.text.split("\n"))
                yield Segment(safe, segment.style)


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
    if settings.kafka.bootstrap:
        return settings
    found = devkafka.running()
    if found is None:
        raise SettingsError(
            "no Kafka cluster is named and no devkafka runs in this folder",
            "give --bootstrap HOST:PORT, or start one: stream-scorer kafka start",
        )
    kafka = settings.kafka.model_copy(update={"bootstrap": found.bootstrap})
    registry = settings.registry
    if not registry.url:
        registry = registry.model_copy(update={"url": found.registry_url})
    return settings.model_copy(update={"kafka": kafka, "registry": registry})


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(milliseconds: int) -> datetime | None:
    """Return the time of a Kafka timestamp; None if no calendar has it, as a client may send any.

    Args:
        milliseconds: Since the epoch.
    """
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def utc_text(milliseconds: int) -> str:
    """Return the time of a Kafka timestamp as text: ``2018-04-01 12:00:00.000+00:00``."""
    moment = utc(milliseconds)
    if moment is None:
        return f"{milliseconds} ms"
    return moment.isoformat(sep=" ", timespec="milliseconds")


def show(
    as_json: bool,  # noqa: FBT001 it is the flag itself
    document: Mapping[str, Any] | Sequence[Any],
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
) -> None:
    """Print one report: the document as JSON, or the rows as a table.

    Args:
        as_json: Whether ``--json`` was given.
        document: What ``--json`` prints, on one line.
        columns: Table headings.
        rows: Table cells.
        title: Table title.
    """
    if as_json:
        typer.echo(json.dumps(document, default=str))
        return
    table = Table(*columns, title=printable(title) or None, title_justify="left")
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    TerminalConsole().print(table)
