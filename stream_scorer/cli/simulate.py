"""``stream-scorer simulate``: the published transaction simulator, into a file."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer import simulator
from stream_scorer.cli.console import JsonOption, show
from stream_scorer.simulator.files import refuse_other_endings, write_table


def simulate(
    *,
    out: Annotated[Path, typer.Option(help="File to write: .parquet, .csv or .jsonl.")],
    days: Annotated[int, typer.Option(help="Days from 2018-04-01 on.")] = 183,
    as_json: JsonOption = False,
) -> None:
    """Simulate labelled card transactions into a file."""
    refuse_other_endings(out)
    started = time.monotonic()
    table = simulator.simulate(days)
    write_table(table, out)
    scenarios = table["fraud_scenario"].to_numpy()
    document = {
        "file": str(out),
        "rows": table.num_rows,
        "frauds": int((scenarios > 0).sum()),
        "scenario_1": int((scenarios == 1).sum()),
        "scenario_2": int((scenarios == 2).sum()),  # noqa: PLR2004 the scenario's number
        "scenario_3": int((scenarios == 3).sum()),  # noqa: PLR2004 the scenario's number
        "seconds": round(time.monotonic() - started, 2),
    }
    show(as_json, document, ("", "value"), document.items(), title="Simulated")
