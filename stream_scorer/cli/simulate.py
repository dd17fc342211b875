"""``stream-scorer simulate``: the published transaction simulator, into a file or a topic."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer import simulator
from stream_scorer.apps.feeding import open_feed
from stream_scorer.cli.console import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    connected_settings,
    show,
)
from stream_scorer.errors import SettingsError
from stream_scorer.simulator.files import refuse_other_endings, write_table


def simulate(
    *,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .parquet, .csv or .jsonl.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Topic to send to, without the labels.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, help="Records per second; default: full speed."),
    ] = None,
    days: Annotated[int, typer.Option(help="Days from 2018-04-01 on.")] = 183,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate card transactions into a file with labels, or a topic; times stay those of 2018."""
    if out is None and topic is None:
        raise SettingsError("simulate: no destination", "give --out FILE or --topic TOPIC")
    if rate is not None and topic is None:
        raise SettingsError("simulate: --rate paces a topic only", "give --topic TOPIC too")
    if out is not None:
        refuse_other_endings(out)
    started = time.monotonic()
    table = simulator.simulate(days)
    if out is not None:
        write_table(table, out)
    if topic is not None:
        chosen = connected_settings(config, bootstrap)
        with open_feed(chosen.kafka, chosen.registry, topic, rate) as feed:
            feed.send(table)
    scenarios = table["fraud_scenario"].to_numpy()
    document = {
        "file": None if out is None else str(out),
        "topic": topic,
        "rows": table.num_rows,
        "frauds": int((scenarios > 0).sum()),
        "scenario_1": int((scenarios == 1).sum()),
        "scenario_2": int((scenarios == 2).sum()),  # noqa: PLR2004 the scenario's number
        "scenario_3": int((scenarios == 3).sum()),  # noqa: PLR2004 the scenario's number
        "seconds": round(time.monotonic() - started, 2),
    }
    show(as_json, document, ("", "value"), document.items(), title="Simulated")
