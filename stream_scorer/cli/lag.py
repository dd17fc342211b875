"""``stream-scorer lag``: how far groups are behind, once, live, or as metrics."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import ClusterJsonOptions
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.topics.lag import read_lag
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
        bool, typer.Option("--seconds", help="Also the age of the oldest uncommitted record.")
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
            "--interval", help="Seconds between two looks; default: lag.interval_seconds."
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
    if serve or watch:
        given = {"groups": group or None, "interval_seconds": interval}
        settings = options.connected({"lag": given})
        _follow(settings, serve=serve, watch=watch, as_json=options.as_json)
        return
    names = group or []
    if len(names) > 1 or any(set("*?[") & set(name) for name in names):
        raise SettingsError(
            "lag: one look shows one group", "name one with --group, or add --watch"
        )
    _look_once(options.connected(), names, options, seconds=seconds)


def _follow(settings: Settings, *, serve: bool, watch: bool, as_json: bool) -> None:
    if serve and watch:
        raise SettingsError("lag: --serve and --watch exclude each other", "give one of them")
    if as_json:
        raise SettingsError("lag: --json is for one look", "leave it out, or scrape --serve")
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
