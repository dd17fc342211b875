"""The whole pipe with an imported LightGBM model, and the same pipe that calls LightGBM itself.

Both are ``stream-scorer run`` with the same bundle: decoding, customer features, reasons,
exactly-once. In one of them, LightGBM's ``predict`` (one thread, as all else) scores each batch in
the place of our kernels.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from bench.harness import traffic
from bench.harness.arena import Arena
from bench.harness.event_model import train_model
from bench.harness.gates import rate
from bench.harness.script import missed, say
from stream_scorer.models.importing.imported import ImportOptions, ModelSource
from stream_scorer.models.importing.lightgbm.read import read_lightgbm
from stream_scorer.training.features import CUSTOMER_FEATURES

TREES: Final = 500
LEAVES: Final = 31
LEAST_RATIO: Final = 3.0
_NAME = "imported"
_START_SECONDS = 60.0
_LEAST_RATE = 500
_ROWS = ("ours", "library")


def trained(file: Path) -> Callable[[NDArray[np.float64], NDArray[np.int64]], ModelSource]:
    """Return what trains a LightGBM model on features and frauds, and writes it to a file."""

    def train(features: NDArray[np.float64], fraud: NDArray[np.int64]) -> ModelSource:
        options = {
            "objective": "binary", "num_leaves": LEAVES, "min_data_in_leaf": 5,
            "learning_rate": 0.03, "num_threads": 1, "verbosity": -1,
        }  # fmt: skip
        booster = lightgbm.train(options, lightgbm.Dataset(features, fraud), TREES)
        data = booster.model_to_string(num_iteration=-1).encode()
        file.write_bytes(data)
        return ModelSource(read_lightgbm(data, ImportOptions()), data, "txt")

    return train


def measure_pipe(events: int, rounds: int) -> dict[str, Any]:
    """Return ``ours`` and ``library``, median events per second, and their ``ratio``.

    Args:
        events: Records of each run.
        rounds: Interleaved rounds, after one that does not count.
    """
    with Arena() as arena:
        table = traffic.transactions(events)
        store, file = arena.directory / "models", arena.directory / "model.txt"
        train_model(table, store, _NAME, CUSTOMER_FEATURES, train=trained(file))
        arena.feed("clean", traffic.clean(table, arena.registry))
        rates: dict[str, list[float]] = {row: [] for row in _ROWS}
        for number in range(rounds + 1):
            for row in _ROWS if number % 2 else reversed(_ROWS):
                found = _drained(arena, f"{row}-{number}", _command(row, file), events)
                if number:
                    rates[row].append(found)
                    say(f"pipe, round {number}, {row}: {found:,.0f} events/s")
        medians = {row: round(statistics.median(found)) for row, found in rates.items()}
        ratio = round(medians["ours"] / medians["library"], 2)
        return {**medians, "ratio": ratio, "events": events, "trees": TREES, "leaves": LEAVES}


def failures(found: dict[str, Any]) -> list[str]:
    """Return one line if the pipe is not fast enough."""
    return missed(("the pipe has {} times the speed", found["ratio"], ">=", LEAST_RATIO))


def _command(row: str, file: Path) -> tuple[str, ...]:
    start = ("run",) if row == "ours" else ("library", str(file))
    return (*start, "--from", "earliest", "--model", _NAME)


def _drained(arena: Arena, name: str, command: tuple[str, ...], events: int) -> float:
    """Run a scorer over the input; return its events per second."""
    entry = arena.entry(name, "clean", *command, store=arena.directory / "models")
    arena.create_outputs(entry)
    scorer = arena.start(entry)
    scorer.begin()
    arena.wait_committed(scorer, events, _START_SECONDS + events / _LEAST_RATE)
    scorer.ask_to_end()
    topics = entry.settings.kafka.topics
    times = [message.timestamp()[1] for message in arena.outputs(topics.decisions)]
    scorer.stop()
    if len(times) != events:
        raise SystemExit(f"{name}: {events} records in, {len(times)} decisions out")
    return rate(np.array(times))
