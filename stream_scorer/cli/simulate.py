"""``stream-scorer simulate``: the published transaction simulator, into a file or a topic."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer import simulator
from stream_scorer.cli.options import MOST_PER_SECOND, ClusterJsonOptions
from stream_scorer.errors import SettingsError
from stream_scorer.producing.labels import send_with_labels
from stream_scorer.producing.transactions import open_feed
from stream_scorer.simulator.files import refuse_other_endings, write_table

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_DELAY_MS = 400 * _UNITS_MS["d"]
# A terminal profile row is final after 7 days and uses labels known a day earlier: this is in time.
_DELAY = "5d"


def _delay_ms(text: str) -> int:
    """Return the length that ``--label-delay`` names."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    length = int(match[1]) * _UNITS_MS[match[2]] if match else _LONGEST_DELAY_MS + 1
    if length > _LONGEST_DELAY_MS:
        raise SettingsError(
            f"simulate: --label-delay {text!r} is not a length from 0s to 400d",
            "write 30s, 24h or 7d",
        )
    return length


def _refuse_feeding(*, rate: float | None, labels: bool) -> None:
    """Refuse what makes no sense without a topic."""
    if rate is not None:
        raise SettingsError("simulate: --rate paces a topic only", "give --topic TOPIC too")
    if labels:
        raise SettingsError(
            "simulate: --labels sends to a topic; a file has them anyway", "give --topic TOPIC too"
        )


def simulate(
    *,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .parquet, .csv or .jsonl.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Topic to send the transactions to.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.001,
            max=MOST_PER_SECOND,
            help="Transactions per second; default: full speed.",
        ),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option("--labels", help="Send all labels too, to the labels topic of the settings."),
    ] = False,
    label_delay: Annotated[
        str | None,
        typer.Option(
            "--label-delay",
            help=f"Event time from transaction to label: 30s, 24h, 7d; default: {_DELAY}.",
        ),
    ] = None,
    days: Annotated[int, typer.Option(help="Days from 2018-04-01 on.")] = 183,
    options: ClusterJsonOptions,
) -> None:
    """Simulate card transactions into a file with labels, or a topic; times stay those of 2018.

    With --labels, a label is sent when the transactions' event time is later than that of the
    labelled transaction by the delay. Labels that are still due at the end follow the last
    transaction.
    """
    if out is None and topic is None:
        raise SettingsError("simulate: no destination", "give --out FILE or --topic TOPIC")
    if topic is None:
        _refuse_feeding(rate=rate, labels=labels)
    if label_delay is not None and not labels:
        raise SettingsError("simulate: --label-delay delays labels only", "give --labels too")
    delay_ms = _delay_ms(_DELAY if label_delay is None else label_delay)
    if out is not None:
        refuse_other_endings(out)
    chosen = None if topic is None else options.connected()
    started = time.monotonic()
    table = simulator.simulate(days)
    if out is not None:
        write_table(table, out)
    sent_labels = 0
    if topic is not None and chosen is not None:
        kafka, registry = chosen.kafka, chosen.registry
        if labels:
            sent_labels = send_with_labels(kafka, registry, table, topic, delay_ms, rate)
        else:
            with open_feed(kafka, registry, topic, rate) as feed:
                feed.send(table)
    scenarios = table["fraud_scenario"].to_numpy()
    document = {
        "file": None if out is None else str(out),
        "topic": topic,
        "labels": sent_labels,
        "rows": table.num_rows,
        "frauds": int((scenarios > 0).sum()),
        "scenario_1": int((scenarios == 1).sum()),
        "scenario_2": int((scenarios == 2).sum()),  # noqa: PLR2004 the scenario's number
        "scenario_3": int((scenarios == 3).sum()),  # noqa: PLR2004 the scenario's number
        "seconds": round(time.monotonic() - started, 2),
    }
    options.show_fields(document, "Simulated")
