"""The command tree: each group lives in its own file and is added here by one line."""

import sys
from typing import NoReturn

import typer
from confluent_kafka import KafkaException

from stream_scorer.cli import (
    audit,
    batch,
    controller,
    demo,
    dlq,
    kafka,
    lag,
    models,
    monitor,
    produce,
    profile,
    reproduce,
    rollout,
    run,
    schemas,
    simulate,
    state,
    tail,
    topics,
    train,
)
from stream_scorer.errors import StreamScorerError
from stream_scorer.kafka.config import refused_option

app = typer.Typer(
    name="stream-scorer",
    help="Score card transactions from Kafka with a fraud model, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """Score card transactions from Kafka with a fraud model, exactly once."""


app.command()(run.run)
app.command()(demo.demo)
app.command()(monitor.monitor)
app.command()(controller.controller)
app.command()(profile.profile)
app.add_typer(kafka.app, name="kafka")
app.add_typer(topics.app, name="topics")
app.command()(lag.lag)
app.add_typer(dlq.app, name="dlq")
app.add_typer(schemas.app, name="schemas")
app.add_typer(state.app, name="state")
app.command()(tail.tail)
app.command()(produce.produce)
app.command()(simulate.simulate)
app.command()(train.train)
app.command()(batch.batch)
app.command()(reproduce.reproduce)
app.add_typer(models.app, name="models")
app.add_typer(rollout.app, name="rollout")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run the command line; an error of ours is one line and its own exit code."""
    try:
        app()
    except StreamScorerError as error:
        _leave(error)
    except KafkaException as error:
        refused = refused_option(error)
        if refused is None:
            raise
        _leave(refused)


def _leave(error: StreamScorerError) -> NoReturn:
    sys.stderr.write(f"stream-scorer: {error}\n")
    sys.exit(error.exit_code)
