"""Runs kinds of fault on their clusters, one after another."""

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

from tests.faults.suite.alerts import Alerted, AlertWatch
from tests.faults.suite.brokers import Cluster, Ground, compile_first, opened
from tests.faults.suite.registry import Kind
from tests.faults.suite.report import Result
from tests.faults.suite.stage import Stage

_ERROR_LENGTH = 2_000


def run_kind(
    kind: Kind, ground: Ground, seed: int, folder: Path, *, alerts: bool = False
) -> Result:
    """Run one kind; any exception becomes the error of its result.

    Args:
        kind: The kind.
        ground: Its cluster.
        seed: Seed of the random numbers.
        folder: Folder of the logs.
        alerts: Whether it is also judged by the alerts that fire.
    """
    started = time.monotonic()
    error = ""
    alerted: Alerted | None = None
    stage = Stage(ground, seed, folder)
    try:
        with stage, AlertWatch(stage) if alerts else nullcontext() as watch:
            try:
                kind.act(stage)
            except Exception as failure:
                failure.add_note(stage.scorers.state())
                raise
            if watch is not None:
                alerted = watch.judged(kind.name, kind.family)
        if stage.verdict is None:
            error = "nothing was judged"
        elif not stage.verdict.clean:
            error = f"the verdict: {stage.verdict.examples}"
        elif alerted is not None and alerted.wrong:
            error = f"alerts: {alerted.wrong}: {alerted}"
    except Exception as failure:  # noqa: BLE001 the other kinds must still run
        where = traceback.extract_tb(failure.__traceback__)[-1]
        error = f"{type(failure).__name__}: {failure} ({Path(where.filename).name}:{where.lineno})"
        error += "; ".join(["", *getattr(failure, "__notes__", [])])
        ground.repair()
    fired = sum(count for count, _ in stage.proofs)
    proofs = [f"{proof} ({count})" for count, proof in stage.proofs]
    if stage.scorers.restarts:
        proofs.append(f"starts after exit code 5 ({stage.scorers.restarts})")
    if not fired and not error:
        error = "nothing shows that the fault happened"
    return Result(
        kind.name, kind.family, seed, round(time.monotonic() - started, 1), fired,
        proofs, not error, error[:_ERROR_LENGTH],
        round(stage.resume_seconds, 2), stage.verdict.as_record() if stage.verdict else {},
        alerted.as_record() if alerted else {},
    )  # fmt: skip


def run_all(
    kinds: Sequence[Kind],
    seeds: Sequence[int],
    told: Callable[[Result], None],
    *,
    alerts: bool = False,
) -> Iterator[Result]:
    """Run kinds, cluster by cluster, seed by seed; yield each result as soon as it is available.

    The scorers' kernels are compiled first, so that the first kind need not wait for that.
    """
    compile_first()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        for cluster in get_args(Cluster):
            chosen = [kind for kind in kinds if kind.cluster == cluster]
            if not chosen:
                continue
            with opened(cluster) as ground:
                for seed in seeds:
                    for kind in chosen:
                        folder = Path(name) / f"{seed}-{kind.name}"
                        folder.mkdir()
                        result = run_kind(kind, ground, seed, folder, alerts=alerts)
                        told(result)
                        yield result
