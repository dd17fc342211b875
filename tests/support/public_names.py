"""The names that users rely on: settings, commands, metrics, log lines, exit codes, topics, …"""

import importlib
import io
import json
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from stream_scorer import errors
from stream_scorer.cli.main import COMMANDS, load
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.render import Renderer
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from stream_scorer.telemetry import ACCESS_EVENTS, EVENTS, SUPERVISOR_EVENTS


def _settings(model: Any, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _flags(command: Any, path: str) -> Iterator[tuple[str, list[str]]]:
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from _flags(each, f"{path} {name}")
    else:
        flags = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o[0] == "-"}
        yield path, sorted(flags)


def _tree(kind: type[errors.StreamScorerError]) -> Iterator[type[errors.StreamScorerError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _tree(each)


def _headers() -> list[str]:
    formats = importlib.import_module("stream_scorer.dead_letters.format")
    rekeying = importlib.import_module("stream_scorer.rekeying.work")
    return [*formats.NAMES, formats.REPLAYED_FROM, rekeying.REKEYED_FROM]


def public_names() -> dict[str, Any]:
    """Return all of them."""
    registry = CollectorRegistry()
    kinds = (*EVENTS, *SUPERVISOR_EVENTS, *ACCESS_EVENTS)
    Renderer(registry, process_logger("scorer", stream=io.StringIO()), kinds=kinds)
    ready_gauge(registry)
    declared = {f"stream_scorer_{each.name}": each for kind in kinds for each in kind.metrics()}
    return {
        "settings": sorted(_settings(Settings)),
        "commands": dict(each for name in COMMANDS for each in _flags(load(name), name)),
        "metrics": {
            metric.name: sorted(declared[metric.name].labels) if metric.name in declared else []
            for metric in registry.collect()
        },
        "log lines": sorted({line.event for kind in kinds for line in kind.lines()}),
        "exit codes": {kind.__name__: kind.exit_code for kind in _tree(errors.StreamScorerError)},
        "topics": Settings().kafka.topics.model_dump(),
        "headers": sorted(_headers()),
        "fields": {
            path.stem: [field["name"] for field in json.loads(path.read_text()).get("fields", [])]
            for path in sorted(SCHEMAS_DIRECTORY.glob("*.avsc"))
        },
    }
