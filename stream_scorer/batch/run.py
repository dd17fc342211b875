"""Batch: scores files of transactions with the stream's own core.

Three stages run at the same time, each on its own thread: reading and fitting columns, deciding,
writing. After each part the output so far, the rings and the position in the input are saved
(``batch/ledger.py``), and an interrupted job continues there.

``decided_at`` is the job's time, the same for all decisions: the time of its first start, or
``--as-of``. It replaces the Kafka timestamp, which files do not have: an event further after it
than the plan allows is rejected, and no decision is late.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from stream_scorer.batch.input import BatchInput
from stream_scorer.batch.job import Job, JobProgress, Order
from stream_scorer.batch.ledger import Done, Ledger, WorkDirectory
from stream_scorer.batch.output import AVRO, ENDINGS, PARQUET, refuse_feature_names
from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan, table_of
from stream_scorer.durable_files import sync_folder
from stream_scorer.errors import ModelError, SettingsError, StateError, UnavailableError
from stream_scorer.models.stores.deployment import Deployment, load_models
from stream_scorer.settings import Settings
from stream_scorer.tables.files import InputFile, find_files, without_credentials

LABELS = ("read", "in_time", "frauds", "frauds_in_input")
_IF_COUNTED = ("outcome_column", "unknown")
_URL = re.compile("[a-z][a-z0-9+.-]+:/")


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a job.

    Attributes:
        model: NAME:VERSION that decided.
        out: The file or folder of decisions.
        rejects: The file of rejected rows; None when there are none.
        rows: Rows of the input.
        resumed_at: Rows that an earlier run had done.
        outcomes: Decisions by outcome.
        rejected: Rejected rows by reason.
        skipped: Rows that ``[record] where`` of the plan's mapping does not choose.
        history: Accepted rows before ``since``: remembered, not decided.
        history_rejected: Rejected rows before it: reported with their own day, not again.
        labels: Labels ``read``, those known ``in_time``, the transactions that they call
            ``frauds``, and the number of those in the input; None without labels. Under a label
            policy, ``outcome_column`` is 1 if the input has one, and ``unknown`` counts the rows of
            terminals that are unknown.
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
    skipped: int
    history: int
    history_rejected: int
    labels: dict[str, int] | None
    degraded: int
    failed_rows: int
    seconds: float


def run_batch(
    settings: Settings, order: Order, told: Callable[[JobProgress], None] = lambda _: None
) -> Report:
    """Score files.

    Args:
        settings: The models' folder, and the trusted signers and models.
        order: What to score.
        told: Called from time to time with the job's progress.

    Raises:
        SettingsError: Input or output cannot be used; nothing exists under the output's name.
        ModelError: The bundle is refused, or fails for too many rows.
        StateError: An earlier run's work belongs to another job, or is damaged.
        UnavailableError: A store does not answer, or the disk is full; the same command continues.
    """
    started = time.monotonic()
    _refuse_output(order)
    files = find_files(order.source)
    loaded = load_models(settings, Deployment(order.model, order.plan))
    model, plan, (bundle,) = loaded.model, loaded.plan, loaded.bundles
    if order.features:
        refuse_feature_names(model.features.names)
    source = BatchInput(files, plan)
    source.refuse_lacking()
    labels = _labels_of(order, model)
    if labels is not None and plan.label_policy:
        source.read_outcomes()
    work = WorkDirectory(order.out)
    with work.locked():
        _refuse_made(order, work)
        content = bundle.manifest.content_hash
        ledger = _ledger(order, work, _identity(order, plan, model, content, files, labels))
        resumed = ledger.done.rows
        try:
            if not ledger.complete:
                with closing(Job(order, work, ledger, source, model, plan, told)) as job:
                    ledger = job.run(labels)
            return _published(order, work, ledger, model, resumed, started)
        except OSError as error:
            raise UnavailableError(
                f"output {order.out}: {error.strerror or error}",
                "fix that; the same command then continues where it stopped",
            ) from error
        except (ModelError, SettingsError):
            # Only another model or input fixes it, and that is another job.
            work.remove()
            raise


def _refuse_made(order: Order, work: WorkDirectory) -> None:
    """Refuse an output that was written while the job waited for the lock."""
    try:
        _refuse_output(order)
    except SettingsError:
        if work.read() is None:
            work.remove()
        raise


def _refuse_output(order: Order) -> None:
    out = order.out
    if _URL.match(str(out)) or not out.name or out.suffix.lower() not in ENDINGS:
        raise SettingsError(
            f"output {out}: unknown kind of file",
            f"name a local file {PARQUET} or {AVRO}, or a folder: a name without an ending",
        )
    rejects = order.rejects_path
    if out == rejects:
        raise SettingsError(f"output {out}: is the file of rejects, too", "name another --rejects")
    work = WorkDirectory(out)
    found = work.read() if work.path.is_dir() else None
    # An earlier run may have ended while it moved its complete output into place.
    moving = found is not None and found.complete
    for path, grown in ((out, work.decisions), (rejects, work.rejects)):
        if not path.parent.is_dir():
            raise SettingsError(f"output {path}: its directory does not exist", "make it first")
        if path.exists() and not (moving and not grown.exists()):
            raise SettingsError(f"output {path}: exists already", "remove it or name another")
    if rejects.parent.stat().st_dev != out.parent.stat().st_dev:
        raise SettingsError(
            f"output {rejects}: is on another disk than {out}: it cannot be moved in one step",
            "name another --rejects",
        )


def _labels_of(order: Order, model: Model) -> InputFile | None:
    if order.labels is None:
        return None
    if not model.features.by_terminal:
        raise SettingsError(
            f"labels {without_credentials(order.labels)}: {model.name}:{model.version} has no "
            "features by terminal, so they change nothing",
            "leave --labels out",
        )
    found = find_files(order.labels)
    if len(found) > 1:
        told = without_credentials(order.labels)
        raise SettingsError(f"labels {told}: {len(found)} files", "name one")
    return found[0]


def _identity(
    order: Order, plan: Plan, model: Model, content_hash: str, files: list[InputFile],
    labels: InputFile | None,
) -> dict[str, object]:  # fmt: skip
    """Return the job's identity: all that determines its output."""
    inputs = json.dumps([[f.name, f.size, f.mark] for f in files])
    return {
        "input": hashlib.sha256(inputs.encode()).hexdigest(),
        "model": content_hash,
        "plan": hashlib.sha256(json.dumps(table_of(plan), sort_keys=True).encode()).hexdigest(),
        "labels": "" if labels is None else f"{labels.name} {labels.size} {labels.mark}",
        "engine": model.features.version,
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


def _published(
    order: Order, work: WorkDirectory, ledger: Ledger, model: Model, resumed: int, started: float
) -> Report:
    """Move a complete output into place; rejects first: decisions never exist without them."""
    done = ledger.done
    _refuse_strange_labels(order, done)
    rejects = order.rejects_path if done.rejected else None
    if rejects is not None:
        _move(work.rejects, rejects)
    _refuse_vain(order, done, rejects)
    _move(work.decisions, order.out)
    sync_folder(order.out.parent)
    work.remove()
    return Report(
        model=f"{model.name}:{model.version}", out=order.out, rejects=rejects, rows=done.rows,
        resumed_at=resumed, outcomes=done.outcomes, rejected=done.rejected,
        skipped=done.skipped, history=done.history, history_rejected=done.history_rejected,
        labels={
            name: done.labels[name] for name in (*LABELS, *_IF_COUNTED) if name in done.labels
        } or None,
        degraded=done.degraded, failed_rows=done.failed_rows,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _move(grown: Path, path: Path) -> None:
    """Move a file into place without overwriting; an earlier run may have done it."""
    if not grown.exists():
        return
    if path.exists():
        raise UnavailableError(
            f"output {path}: was made by another while the job ran",
            "move it away; the same command then puts the job's own there",
        )
    grown.replace(path)


def _refuse_vain(order: Order, done: Done, rejects: Path | None) -> None:
    if not done.accepted and (done.rejected or done.history_rejected):
        counts = dict(done.rejected)
        if done.history_rejected:
            counts["before --since"] = done.history_rejected
        counted = ", ".join(f"{reason} {count}" for reason, count in counts.items())
        raise SettingsError(
            f"input {without_credentials(order.source)}: no row can be decided: {counted}",
            f"see {rejects}" if rejects else "run it without --since, and see the rejects",
        )


def _refuse_strange_labels(order: Order, done: Done) -> None:
    """Refuse labels of other transactions: with them, no terminal would have frauds."""
    if order.labels is None or not done.accepted or done.labels["met"]:
        return
    raise SettingsError(
        f"labels {without_credentials(order.labels)}: none of {done.labels['read']} belongs to a "
        f"row of {without_credentials(order.source)}",
        "give labels of these transactions, genuine ones too, with the same transaction_id, "
        "event_time (ms or ISO 8601, UTC) and customer_id; or leave --labels out",
    )
