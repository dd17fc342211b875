"""Batch: files of transactions in, one file of decisions out, by the stream's own core.

Three stages work side by side, each on a thread of its own: reading and fitting columns, deciding,
writing. After each part the output so far, the rings and the position in the input are made fast
(``batch_ledger``), and a job that was cut off goes on there.

``decided_at`` is the job's time, one for all decisions: when it first started, or ``--as-of``. It
stands for the Kafka timestamp that files do not have: an event further ahead of it than the plan
allows is rejected, and no decision is late.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from stream_scorer.apps.batch_deciding import Chunk, Decider
from stream_scorer.apps.batch_files import InputFile, find_files, without_credentials
from stream_scorer.apps.batch_input import BatchInput, Place, rechunk
from stream_scorer.apps.batch_ledger import Done, Ledger, WorkDirectory, sync
from stream_scorer.apps.batch_output import (
    ENDINGS,
    Form,
    Rejects,
    Writer,
    open_writer,
    refuse_feature_names,
)
from stream_scorer.apps.batch_sort import merge, write_runs
from stream_scorer.apps.batch_terminals import Terminals, read_frauds
from stream_scorer.apps.scorer import Deployment, load_model
from stream_scorer.core.features import ENGINE
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Model
from stream_scorer.errors import SettingsError, StateError, UnavailableError
from stream_scorer.models.bundle import read_manifest
from stream_scorer.models.store import find
from stream_scorer.settings import Settings

T = TypeVar("T")
PART_ROWS = 1_000_000
CHUNK_ROWS = 50_000
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Order:
    """What to score.

    Attributes:
        source: Path, glob or fsspec URL of the transactions.
        out: File to write, named by one of :data:`~stream_scorer.apps.batch_output.ENDINGS`.
        model: NAME or NAME:VERSION.
        plan: Plan file; None takes ``plan.toml`` beside the model's versions.
        labels: Labels for features by terminal.
        features: Whether to add a column for each feature.
        sort: Whether to sort the input by event time first.
        since: Decide only events from this time on, ms; earlier ones are history. None: all.
        rejects: File for rejected rows; None: beside ``out``.
        as_of: The job's time, ms since the epoch; None: when it starts first.
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
        """Where rejected rows go."""
        return self.rejects or self.out.with_name(f"{self.out.name}.rejects.jsonl")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        stage: ``sort`` or ``score``.
        done: Of ``total``, in bytes of the input.
        total: Bytes of the input.
        rows: Rows that are done in this run and those before it.
    """

    stage: str
    done: int
    total: int
    rows: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a job did.

    Attributes:
        model: NAME:VERSION that decided.
        out: The file of decisions.
        rejects: The file of rejected rows; None when there are none.
        rows: Rows of the input.
        resumed_at: Rows that an earlier run had done.
        outcomes: Decisions by outcome.
        rejected: Rejected rows by reason.
        degraded: Decisions without everything that the features need.
        failed_rows: Rows for which the model failed.
        seconds: This run's.
    """

    model: str
    out: Path
    rejects: Path | None
    rows: int
    resumed_at: int
    outcomes: dict[str, int]
    rejected: dict[str, int]
    degraded: int
    failed_rows: int
    seconds: float


def run_batch(
    settings: Settings, order: Order, told: Callable[[Progress], None] = lambda _: None
) -> Report:
    """Score files.

    Args:
        settings: Where models are, and which types they may hold.
        order: What to score.
        told: Called now and then with how far the job is.

    Raises:
        SettingsError: Input or output cannot be used; nothing stands under the output's name.
        ModelError: The bundle is refused, or fails for too many rows.
        StateError: What an earlier run left is of another job, or damaged.
        UnavailableError: A store does not answer, or the disk is full; the same command goes on.
    """
    started = time.monotonic()
    _refuse_output(order)
    files = find_files(order.source)
    model, plan = load_model(settings, Deployment(order.model, order.plan))
    if order.features:
        refuse_feature_names(model.features.names)
    source = BatchInput(files, plan)
    source.refuse_lacking()
    labels = _labels_of(order)
    work = WorkDirectory(order.out)
    with work.locked():
        manifest = read_manifest(find(settings.models.directory, order.model))
        ledger = _ledger(order, work, _identity(order, plan, manifest.content_hash, files, labels))
        resumed = ledger.done.rows
        try:
            if not ledger.complete:
                with closing(_Job(order, work, ledger, source, model, plan, told)) as job:
                    ledger = job.run(labels)
            return _published(order, work, ledger, model, resumed, started)
        except OSError as error:
            raise UnavailableError(
                f"output {order.out}: {error.strerror or error}",
                "mend that; the same command then goes on where it stopped",
            ) from error
        except SettingsError:
            # Only another input mends it, and that is another job.
            work.remove()
            raise


def _refuse_output(order: Order) -> None:
    out, rejects = order.out, order.rejects_path
    if "://" in str(out) or out.suffix.lower() not in ENDINGS:
        raise SettingsError(
            f"output {out}: unknown kind of file", f"name a local file {' or '.join(ENDINGS)}"
        )
    if out == rejects:
        raise SettingsError(f"output {out}: is the file of rejects, too", "name another --rejects")
    work = WorkDirectory(out)
    found = work.read() if work.path.is_dir() else None
    # An earlier run may have ended while it moved its whole output into place.
    moving = found is not None and found.complete
    for path, grown in ((out, work.decisions), (rejects, work.rejects)):
        if not path.parent.is_dir():
            raise SettingsError(f"output {path}: its directory does not exist", "make it first")
        if path.exists() and not (moving and not grown.exists()):
            raise SettingsError(f"output {path}: exists already", "remove it or name another")


def _labels_of(order: Order) -> InputFile | None:
    if order.labels is None:
        return None
    found = find_files(order.labels)
    if len(found) > 1:
        raise SettingsError(f"labels {order.labels}: {len(found)} files", "name one")
    return found[0]


def _identity(
    order: Order, plan: Plan, content_hash: str, files: list[InputFile], labels: InputFile | None
) -> dict[str, object]:
    """Return what a job is: with another of these its output would be another."""
    inputs = json.dumps([[f.name, f.size, f.mark] for f in files])
    return {
        "input": hashlib.sha256(inputs.encode()).hexdigest(),
        "model": content_hash,
        "plan": hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest(),
        "labels": "" if labels is None else f"{labels.name} {labels.size} {labels.mark}",
        "engine": ENGINE,
        "options": [order.features, order.sort, order.since, order.as_of, order.part_rows,
                    str(order.rejects_path)],
    }  # fmt: skip


def _ledger(order: Order, work: WorkDirectory, identity: dict[str, object]) -> Ledger:
    found = work.read()
    if found is None:
        now = time.time_ns() // 1_000_000
        return Ledger(identity, now if order.as_of is None else order.as_of)
    for name, value in identity.items():
        if found.job.get(name) != value:
            raise StateError(
                f"output {work.path}: an unfinished job with another {name}",
                "finish it with its own command, or delete the directory",
            )
    return found


class _Job:
    """One run of a job: from where the ledger stands to the end of the input."""

    def __init__(
        self,
        order: Order,
        work: WorkDirectory,
        ledger: Ledger,
        source: BatchInput,
        model: Model,
        plan: Plan,
        told: Callable[[Progress], None],
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
        self._writer: Writer = open_writer(
            work.decisions, order.out.suffix.lower(), Form(names, added, ledger.decided_at)
        )
        self._rejects = Rejects(work.rejects, names)

    def run(self, labels: InputFile | None) -> Ledger:
        """Decide the rows that are left, and end the output."""
        ledger = self._ledger
        terminals = None
        if labels is not None and self._model.features.by_terminal:
            terminals = Terminals(
                self._model.features.engine.delayed, read_frauds(labels, self._plan)
            )
        decider = Decider(
            self._model, self._plan, self._source, terminals, ledger.decided_at, self._order.since
        )
        if ledger.state:
            try:
                decider.load(ledger.done, self._work.read_state(ledger.state))
            except ValueError as error:
                raise self._work.damaged(ledger.state, str(error)) from error
        self._writer.resume(ledger.length)
        self._rejects.resume(ledger.rejects_length)
        with closing(_ahead(self._chunks())) as chunks, ThreadPoolExecutor(1) as thread:
            writing: deque[Future[None]] = deque()
            rows = 0
            for chunk in chunks:
                writing.append(thread.submit(self._write, decider.decide(chunk)))
                rows += chunk.num_rows
                if rows >= self._order.part_rows:
                    rows = 0
                    writing.append(thread.submit(self._end_part, decider.done(), decider.dump()))
                while len(writing) > _AHEAD:
                    writing.popleft().result()
                done = decider.done().rows
                self._told(Progress("score", self._source.read, self._total, done))
            if rows or not ledger.parts:
                writing.append(thread.submit(self._end_part, decider.done(), decider.dump()))
            while writing:
                writing.popleft().result()
        return self._finish()

    def close(self) -> None:
        """Let the files go."""
        self._writer.close()
        self._rejects.close()

    def _chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield what is left of the input; parts and chunks end at the same rows in every run."""
        size = min(CHUNK_ROWS, self._order.part_rows)
        done = self._ledger.done
        if self._order.sort:
            yield from rechunk(_behind(merge(self._runs()), done.rows), size)
        else:
            yield from rechunk(self._source.rows(Place(done.file, done.row)), size)

    def _runs(self) -> list[Path]:
        """Return the sorted input; it is sorted when no earlier run has done it."""
        work, ledger = self._work, self._ledger
        if ledger.sorted_runs is None:
            work.runs.mkdir(exist_ok=True)
            for old in work.runs.glob("*"):
                old.unlink()
            runs = write_runs(self._sorting(), work.runs)
            for run in runs:
                sync(run)
            self._ledger = ledger = replace(ledger, sorted_runs=tuple(run.name for run in runs))
            work.write(ledger)
        return [work.runs / name for name in ledger.sorted_runs or ()]

    def _sorting(self) -> Iterator[pa.RecordBatch]:
        for batch in self._source.rows():
            self._told(Progress("sort", self._source.read, self._total, 0))
            yield batch

    def _write(self, chunk: Chunk) -> None:
        for decided in chunk.decided:
            self._writer.write(decided)
        self._rejects.write(chunk.rejects)

    def _end_part(self, done: Done, state: list[bytes]) -> None:
        """Bring what is written to the disk, and then say so."""
        ledger, work = self._ledger, self._work
        number = len(ledger.parts)
        length, tail = self._writer.end()
        rejects_length = self._rejects.end()
        sync(work.decisions)
        sync(work.rejects)
        work.write_tail(number, tail)
        self._ledger = replace(
            ledger, done=done, length=length, rejects_length=rejects_length,
            parts=(*ledger.parts, ledger.length), state=work.write_state(number, state),
        )  # fmt: skip
        work.write(self._ledger)

    def _finish(self) -> Ledger:
        ledger, work = self._ledger, self._work
        self._writer.finish(
            [(start, work.read_tail(number)) for number, start in enumerate(ledger.parts)]
        )
        sync(work.decisions)
        self._ledger = replace(ledger, complete=True)
        work.write(self._ledger)
        return self._ledger


def _behind(rows: Iterator[pa.RecordBatch], count: int) -> Iterator[pa.RecordBatch]:
    """Yield what stands behind the first ``count`` rows."""
    for batch in rows:
        if count < batch.num_rows:
            yield batch.slice(count)
        count = max(count - batch.num_rows, 0)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items that are made on a thread of their own, a few ahead."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        made = deque(thread.submit(next, items, end) for _ in range(_AHEAD))
        while (item := made.popleft().result()) is not end:
            made.append(thread.submit(next, items, end))
            yield item  # type: ignore[misc]  # the end is told by identity


def _published(
    order: Order, work: WorkDirectory, ledger: Ledger, model: Model, resumed: int, started: float
) -> Report:
    """Move a whole output into place; rejects first, so that decisions never stand without."""
    done = ledger.done
    rejects = order.rejects_path if done.rejected else None
    if rejects is not None and work.rejects.exists():
        work.rejects.replace(rejects)
    decisions = sum(done.outcomes.values())
    if done.rejected and not decisions:
        counted = ", ".join(f"{reason} {count}" for reason, count in done.rejected.items())
        raise SettingsError(
            f"input {without_credentials(order.source)}: no row can be decided: {counted}",
            f"see {rejects}",
        )
    if work.decisions.exists():
        work.decisions.replace(order.out)
    sync(order.out.parent)
    work.remove()
    return Report(
        model=f"{model.name}:{model.version}", out=order.out, rejects=rejects, rows=done.rows,
        resumed_at=resumed, outcomes=done.outcomes, rejected=done.rejected,
        degraded=done.degraded, failed_rows=done.failed_rows,
        seconds=time.monotonic() - started,
    )  # fmt: skip
