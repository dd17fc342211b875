"""One run of a batch job: from its ledger's position to the end of the input."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from stream_scorer.batch.avro import AvroDecisions
from stream_scorer.batch.decide import Chunk, Decider
from stream_scorer.batch.external_sort import merge, write_runs
from stream_scorer.batch.input import BatchInput, Place, rechunk
from stream_scorer.batch.labels import read_frauds
from stream_scorer.batch.ledger import Done, Ledger, WorkDirectory
from stream_scorer.batch.output import AVRO, PARQUET, Form, PartWriter, Rejects
from stream_scorer.batch.parquet import MergedParquet, ParquetFolder
from stream_scorer.batch.terminals import Terminals
from stream_scorer.batch.threads import Behind, ahead
from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan
from stream_scorer.durable_files import sync_file
from stream_scorer.tables.files import InputFile

PART_ROWS = 1_000_000
CHUNK_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Order:
    """What to score.

    Attributes:
        source: Path, glob or fsspec URL of the transactions.
        out: File or folder to write, named by one of :data:`~stream_scorer.batch.output.ENDINGS`.
        model: NAME or NAME:VERSION.
        plan: Plan file; None takes ``plan.toml`` next to the model's versions.
        labels: Labels for features by terminal.
        features: Whether to add a column for each feature.
        sort: Whether to sort the input by event time first.
        since: Decide only events from this time on, ms; earlier ones are history. None: all.
        rejects: File for rejected rows; None: next to ``out``.
        as_of: The job's time, ms since the epoch; None: the time of its first start.
        part_rows: Input rows of a part.
    """

    source: str
    out: Path
    model: str
    plan: Path | None = None
    labels: str | None = None
    features: bool = False
    sort: bool = False
    since: int | None = None
    rejects: Path | None = None
    as_of: int | None = None
    part_rows: int = PART_ROWS

    @property
    def rejects_path(self) -> Path:
        """The file of rejected rows."""
        return self.rejects or self.out.with_name(f"{self.out.name}.rejects.jsonl")


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    Attributes:
        stage: ``sort``, ``score`` or ``merge``.
        done: Of ``total``.
        total: Bytes of the input; in the stage ``merge``, decisions.
        rows: Rows done in this run and earlier ones.
    """

    stage: str
    done: int
    total: int
    rows: int


class Job:
    """One run of a job: from the ledger's position to the end of the input."""

    def __init__(
        self,
        order: Order,
        work: WorkDirectory,
        ledger: Ledger,
        source: BatchInput,
        model: Model,
        plan: Plan,
        told: Callable[[JobProgress], None],
    ) -> None:
        self._order = order
        self._work = work
        self._ledger = ledger
        self._source = source
        self._model = model
        self._plan = plan
        self._told = told
        self._total = sum(file.size for file in source.files)
        names = [file.name for file in source.files]
        added = model.features.names if order.features else ()
        form = Form(names, added, ledger.decided_at)
        self._writer = _writer(order.out, work, form)
        self._rejects = Rejects(work.rejects, names)

    def run(self, labels: InputFile | None) -> Ledger:
        """Decide the remaining rows, and complete the output."""
        ledger = self._ledger
        terminals = None
        if labels is not None:
            frauds = read_frauds(labels, self._plan, every=self._source.outcomes)
            terminals = Terminals(self._model.features.engine.delayed, frauds, self._plan)
        decider = Decider(
            self._model, self._plan, self._source, terminals, ledger.decided_at, self._order.since
        )
        if ledger.state:
            try:
                decider.load(ledger.done, self._work.read_state(ledger.state))
            except ValueError as error:
                raise self._work.damaged(ledger.state, str(error)) from error
        try:
            self._writer.resume(ledger.parts)
        except ValueError as error:
            raise self._work.damaged("the output", str(error)) from error
        self._rejects.resume(ledger.rejects_length)
        with closing(ahead(self._chunks())) as chunks, Behind() as behind:
            rows, ended = 0, bool(ledger.parts)
            for chunk in chunks:
                behind.do(self._write, decider.decide(chunk))
                rows += chunk.num_rows
                if rows >= self._order.part_rows:
                    rows, ended = 0, True
                    behind.do(self._end_part, decider.done(), decider.dump())
                done = decider.done().rows
                self._told(JobProgress("score", self._source.read, self._total, done))
            # An output without rows has a part, too, for its schema.
            if rows or not ended:
                behind.do(self._end_part, decider.done(), decider.dump())
            behind.wait()
        return self._finish()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()
        self._rejects.close()

    def _chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rest of the input; parts and chunks end at the same rows in every run."""
        size = min(CHUNK_ROWS, self._order.part_rows)
        done = self._ledger.done
        if self._order.sort:
            yield from rechunk(_behind(merge(self._runs()), done.rows), size)
        else:
            yield from rechunk(self._source.rows(Place(done.file, done.row)), size)

    def _runs(self) -> list[Path]:
        """Return the sorted input; sort it if no earlier run has."""
        work, ledger = self._work, self._ledger
        if ledger.sorted_runs is None:
            work.runs.mkdir(exist_ok=True)
            for old in work.runs.glob("*"):
                old.unlink()
            runs = write_runs(self._sorting(), work.runs)
            for run in runs:
                sync_file(run)
            self._ledger = ledger = replace(ledger, sorted_runs=tuple(run.name for run in runs))
            work.write(ledger)
        return [work.runs / name for name in ledger.sorted_runs or ()]

    def _sorting(self) -> Iterator[pa.RecordBatch]:
        for batch in self._source.rows():
            self._told(JobProgress("sort", self._source.read, self._total, 0))
            yield batch

    def _write(self, chunk: Chunk) -> None:
        for decided in chunk.decided:
            self._writer.write(decided)
        self._rejects.write(chunk.rejects)

    def _end_part(self, done: Done, state: list[bytes]) -> None:
        """Sync the output to disk, and then update the ledger."""
        ledger, work = self._ledger, self._work
        number = len(ledger.parts)
        length = self._writer.end()
        rejects_length = self._rejects.end()
        sync_file(work.rejects)
        self._ledger = replace(
            ledger, done=done, rejects_length=rejects_length,
            parts=(*ledger.parts, length), state=work.write_state(number, state),
        )  # fmt: skip
        work.write(self._ledger)

    def _finish(self) -> Ledger:
        ledger, work = self._ledger, self._work
        rows = ledger.done.rows
        self._writer.finish(lambda done, total: self._told(JobProgress("merge", done, total, rows)))
        self._ledger = replace(ledger, complete=True)
        work.write(self._ledger)
        return self._ledger


def _writer(out: Path, work: WorkDirectory, form: Form) -> PartWriter:
    ending = out.suffix.lower()
    if ending == AVRO:
        return AvroDecisions(work.decisions, form)
    if ending == PARQUET:
        return MergedParquet(work.parts, work.decisions, form)
    return ParquetFolder(work.decisions, form)


def _behind(rows: Iterator[pa.RecordBatch], count: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows after the first ``count``."""
    for batch in rows:
        if count < batch.num_rows:
            yield batch.slice(count)
        count = max(count - batch.num_rows, 0)
