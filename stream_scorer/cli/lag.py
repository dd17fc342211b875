"""``stream-scorer lag``: how far groups are behind, once, live, or as metrics."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import ClusterJsonOptions
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.lag.broker.group_names import is_pattern
from stream_scorer.settings import Settings


def lag(
    *,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            help="Consumer group; default: the scorer's. With --serve and --watch it can have * "
            "and ?, and be given several times.",
        ),
    ] = None,
    seconds: Annotated[
        bool,
        typer.Option(
            "--seconds", help="In one look: also the age of the oldest uncommitted record."
        ),
    ] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Watch the groups and serve metrics until a signal."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the groups live in the terminal until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            help="With --serve and --watch: seconds between two looks; default: "
            "lag.interval_seconds.",
        ),
    ] = None,
    options: ClusterJsonOptions,
) -> None:
    """Show how far groups are behind: once, live, or as metrics with a verdict.

    Without --serve and --watch: one group's lag in every partition, from its committed offsets.
    end is the high watermark, stable the last offset that a read-committed reader may reach; a
    difference that stays is a transaction upstream that no producer ends. "-": never committed.

    --serve and --watch judge each partition: docs/SRE.md has the verdicts and what to do. On the
    host of another process, --serve needs another http.port; 0 picks a free one.
    """
    if serve and watch:
        raise SettingsError("lag: --serve and --watch exclude each other", "give one of them")
    names = group or []
    if serve or watch:
        _refuse_for_live(as_json=options.as_json, seconds=seconds)
    else:
        _refuse_for_one_look(names, interval)
    given = {"groups": names or None, "interval_seconds": interval}
    settings = options.connected({"lag": given})
    if serve or watch:
        _follow(settings, serve=serve)
    else:
        _look_once(settings, names, options, seconds=seconds)


def _refuse_for_live(*, as_json: bool, seconds: bool) -> None:
    """Refuse the options that --serve and --watch have no use for."""
    if as_json:
        raise SettingsError("lag: --json is for one look", "leave it out, or scrape --serve")
    if seconds:
        raise SettingsError(
            "lag: --seconds is for one look", "leave it out: --serve and --watch show ages anyway"
        )


def _refuse_for_one_look(names: Sequence[str], interval: float | None) -> None:
    """Refuse what one look has no use for."""
    if len(names) > 1 or any(map(is_pattern, names)):
        raise SettingsError(
            "lag: one look shows one group", "name one with --group, or add --watch"
        )
    if interval is not None:
        raise SettingsError(
            "lag: --interval is the time between two looks", "leave it out, or add --watch"
        )


def _follow(settings: Settings, *, serve: bool) -> None:
    if serve:
        from stream_scorer.lag.watch.process import serve_lag  # noqa: PLC0415 one look needs less

        serve_lag(settings)
    else:
        from stream_scorer.cli.lag_drawing import watch_lag  # noqa: PLC0415 one look needs less

        watch_lag(settings)


def _look_once(
    settings: Settings, names: Sequence[str], options: ClusterJsonOptions, *, seconds: bool
) -> None:
    name = names[0] if names else settings.kafka.group
    lags = read_lag(settings.kafka, name, seconds=seconds)
    total = sum(each.lag or 0 for each in lags)
    records = [
        {
            "topic": each.topic,
            "partition": each.partition,
            "committed": each.committed,
            "end": each.high,
            "stable": each.stable,
            "lag": each.lag,
        }
        | ({"seconds": round(each.seconds or 0.0, 3)} if seconds else {})
        for each in lags
    ]
    rows = [_row(record) for record in records]
    columns = list(records[0])
    options.show(
        {"group": name, "partitions": records, "total": total},
        columns,
        [*rows, ["total", "", "", "", "", total, *([""] if seconds else [])]],
        f"group {name}",
    )


def _row(record: Mapping[str, Any]) -> list[object]:
    """Return a partition's cells: offsets as they are, to be given to other commands."""
    exact = ("partition", "committed", "end", "stable")
    return [
        str(value) if name in exact and value is not None else value
        for name, value in record.items()
    ]
