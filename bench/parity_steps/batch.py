"""The parity bench's files: the same transactions and labels through ``stream-scorer batch``."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness.arena import Arena
from bench.harness.process import until
from bench.parity_steps.input import Input
from bench.parity_steps.labels import Labels
from bench.parity_steps.outcomes import KEPT, Outcomes
from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.simulator.files import write_table

_SECONDS = 300.0
_PART_SHARE = 3


class Batch:
    """A job over the rows that a file may contain; its process waits for ``run``.

    A file has no delivery, so it contains no label that is delivered after its row was published;
    those that become known past the cut-off are in it.

    Args:
        arena: The arena.
        rows: The complete input.
        labels: All labels; None for a model without terminal features.
        model: NAME:VERSION.
        plan: The plan's file; None: the one next to the model's versions.
        name: Its name in the arena.
        store: The model store; None: the shipped one.
        outcomes: What was published about the rows: their column ``outcome``; None: no column.
    """

    def __init__(
        self, arena: Arena, rows: Input, labels: Labels | None, model: str, plan: Path | None,
        name: str = "batch", store: Path | None = None, outcomes: Outcomes | None = None,
    ) -> None:  # fmt: skip
        directory = arena.directory / name
        directory.mkdir()
        self._rows = np.flatnonzero(rows.compared)
        self._out = directory / "out.parquet"
        source, said = directory / "in.parquet", directory / "labels.parquet"
        given = rows.table.take(pa.array(self._rows))
        if outcomes is not None:
            names = np.array([*(outcome.name for outcome in Outcome), None])
            # Nothing was published about a rejected row: -1, the last name.
            told = pa.array(names[outcomes.decision[self._rows]].tolist(), pa.string())
            given = given.append_column("outcome", told)
        write_table(given, source)
        more = [] if plan is None else ["--plan", str(plan)]
        if labels is not None:
            write_table(labels.table(rows).filter(pa.array(~labels.delivered_late)), said)
            more += ["--labels", str(said)]
        self._entry = arena.entry(
            name, "none", "batch", str(source), str(self._out), "--model", model, *more,
            "--part-rows", str(len(self._rows) // _PART_SHARE), store=store,
        )  # fmt: skip
        self._arena = arena
        self._count = len(rows)

    def run(self, width: int) -> Outcomes:
        """Run the job; return the rows' outcomes."""
        job = self._arena.start(self._entry)
        job.begin()
        until(lambda: job.ended() is not None, "the batch job has ended", _SECONDS)
        if code := job.ended():
            raise SystemExit(f"batch exited with {code}: {job.last}")
        return self._read(width)

    def _read(self, width: int) -> Outcomes:
        found = Outcomes.none(self._count, width)
        table = pq.read_table(self._out)
        at = self._rows[table["source_offset"].to_numpy()]
        np.add.at(found.count, at, 1)
        features = b"".join(table["features"].to_pylist())
        found.features[at] = np.frombuffer(features, "<f8").reshape(-1, width)
        found.score[at] = table["score"].to_numpy()
        found.decision[at] = [Outcome[name] for name in table["decision"].to_pylist()]
        found.flags[at] = [
            sum(Flag[name.upper()] for name in names) & KEPT for names in table["flags"].to_pylist()
        ]
        rejects = self._out.with_name(f"{self._out.name}.rejects.jsonl")
        # Without a rejected row there is no such file.
        for line in rejects.read_text().splitlines() if rejects.exists() else ():
            reject = json.loads(line)
            row = self._rows[reject["source_offset"]]
            found.count[row] += 1
            found.reason[row] = reject["reason"]
        return found
