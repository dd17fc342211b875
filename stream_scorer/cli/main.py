"""The command tree: each group lives in its own file and is added here by one line.

A file is imported when its command is called: all of them take three seconds to load, and a command
that asks for a broker's state needs no model.
"""

import sys
import threading
import traceback
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Final, NoReturn

import typer
from confluent_kafka import KafkaException
from typer.core import TyperCommand, TyperGroup

from stream_scorer.errors import StreamScorerError
from stream_scorer.kafka.topics.client_options import refused_option
from stream_scorer.redaction import redacted
from stream_scorer.terminal_text import write_error

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Consume transactions, publish one decision for each, exactly once.",
    "demo": "Simulate, score, verify: starts its own Kafka unless --bootstrap names one.",
    "monitor": "Read the scorers' summaries, publish an event for each change that a detector "
    "finds.",
    "drift": "Alarms of the monitor: state, explanation, report; acknowledge, accept, snooze.",
    "controller": "Judge the rollout in the control log; step, promote and roll back as its plan "
    "allows.",
    "performance": "Measure each model version by matured labels, and warn when its loss has "
    "risen.",
    "profile": "Read transactions and labels, publish what each transaction shows of its terminal.",
    "rekey": "Copy a topic to one that is keyed by the customer, exactly once.",
    "serve": "Answer requests by HTTP and gRPC: decisions in the call, scores of feature vectors.",
    "kafka": "Start, stop and look at this folder's own Kafka.",
    "topics": "The topics that we read and write.",
    "lag": "Show how far groups are behind: once, live, or as metrics with a verdict.",
    "dlq": "Rejected records: which, why, and back to the input.",
    "events": "Your own records: what of them fits a mapping, and a draft of one.",
    "schemas": "List, check and serve Avro schemas.",
    "state": "The checkpoint of the customers' histories: look at it, check it, rebuild it.",
    "tail": "Print committed records, one line each; with --json one JSON object each.",
    "produce": "Send a file's transactions, keyed by customer, in the order of the file.",
    "simulate": "Simulate card transactions into a file with labels, or a topic; times stay those "
    "of 2018.",
    "labels": "Labels: import them from files, and see how late they are.",
    "dataset": "Training sets from the topics.",
    "train": "Train a model on labelled transactions and write its bundle OUT/NAME/VERSION.",
    "batch": "Score files: IN is Parquet, CSV, Avro or JSON lines; OUT is Parquet or Avro.",
    "reproduce": "Recompute past decisions and compare them with what was published, bit for bit.",
    "models": "Model bundles: import, list, compare, sign, verify and validate them.",
    "export": "Write a model as a folder that decides rows of features without stream-scorer.",
    "rollout": "Model versions in the stream: begin a rollout, move it, take it back, see where "
    "it is.",
    "retrain": "Retraining: train a new version when the model gets worse, and propose it within a "
    "grant.",
    "edge": "Devices that decide offline: their process, their updates, and operators' commands.",
    "clients": "The clients of the API: their keys, scopes and limits.",
    "security": "What is unsafe in settings and cluster, and how to fix it.",
    "audit": "The audit log: who changed which model when, and whether the log is intact.",
}
"""What each command is for; it is ``app``, or a function of its name, in the file of its name."""

PROCESSES: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("scorer", ""), "monitor": ("monitor", ""), "controller": ("controller", ""),
    "performance": ("performance", ""), "profile": ("profiler", ""), "rekey": ("rekey", ""),
    "serve": ("server", ""), "lag": ("lag", "--serve"), "retrain": ("retrain", "run"),
    "drift": ("drift-sink", "sink"),
}  # fmt: skip
"""The kind of process of each command that is one, and the word that makes the command one."""


def load(name: str) -> Any:
    """Return a command, or a group of them, as the command line's library knows it."""
    module = import_module(f"stream_scorer.cli.{name}")
    group = getattr(module, "app", None)
    if group is not None:
        found: Any = typer.main.get_group(group)
        found.name = name
        return found
    from stream_scorer.cli.options import expanded  # noqa: PLC0415 it loads the settings

    alone = typer.Typer(add_completion=False)
    alone.command(name)(expanded(getattr(module, name)))
    return typer.main.get_command(alone)


class _Loading(TyperGroup):
    """Lists, helps and completes without loading a command; only one that is called is loaded."""

    def __init__(self, **attributes: Any) -> None:
        named = {name: TyperCommand(name, help=told) for name, told in COMMANDS.items()}
        super().__init__(**attributes | {"commands": named})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else load(command.name or ""), rest


app = typer.Typer(
    name="stream-scorer",
    cls=_Loading,
    help="Score card transactions from Kafka with a fraud model, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """Score card transactions from Kafka with a fraud model, exactly once."""


def main() -> None:
    """Run the command line; an error of ours is one line and its own exit code."""
    threading.excepthook = lambda failed: _trace(
        failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback
    )
    try:
        app()
    except StreamScorerError as error:
        _keep(error, error)
        _leave(error)
    except KafkaException as error:
        refused = refused_option(error)
        _keep(error, refused or error)
        if refused is None:
            _trace(type(error), error, error.__traceback__)
            sys.exit(1)
        _leave(refused)
    except Exception as error:  # noqa: BLE001 the interpreter would print it with its secrets
        _keep(error, error)
        _trace(type(error), error, error.__traceback__)
        sys.exit(1)


def _keep(error: Exception, reported: Exception) -> None:
    """Keep the error in the journal if the command is a process."""
    command, *given = *sys.argv[1:], ""
    process, word = PROCESSES.get(command, ("", ""))
    if process and (not word or word in given):
        from stream_scorer.observability.journal import keep_last_error  # noqa: PLC0415 slow

        keep_last_error(error, reported, process)


def _trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a stack trace without the secrets that its texts hold."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _leave(error: StreamScorerError) -> NoReturn:
    write_error(redacted(str(error)))
    sys.exit(error.exit_code)
