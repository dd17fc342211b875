"""Scorers as the workers of a supervisor: ``run --workers N``."""

import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from prometheus_client import CollectorRegistry

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.observability.health import Health
from stream_scorer.processes.supervisor import supervised
from stream_scorer.processes.worker_report import Reporter, ended_in_one_line, tie_to
from stream_scorer.scoring.process import run_scorer
from stream_scorer.settings import Settings


def run_worker(
    parent: int, pipe: Connection, number: int, settings: Settings, deployment: Deployment
) -> None:
    """Run one worker; the target of a child process.

    Args:
        parent: The parent's process id.
        pipe: To the supervisor, for reports.
        number: Which worker this is; part of its stable name.
        settings: Settings of the instance.
        deployment: What is deployed.

    Raises:
        SystemExit: With the exit code of the error that ended it, after a line on stderr that names
            the error.
    """
    own = settings.model_copy(update={"kafka": settings.kafka.worker(number)})

    def exposed(registry: CollectorRegistry, health: Health) -> Reporter:
        return Reporter(pipe, registry, health)

    def run() -> None:
        tie_to(parent)
        run_scorer(own, deployment, exposed)

    ended_in_one_line(f"worker {number}", run)


def run_supervisor(settings: Settings, deployment: Deployment, workers: int) -> None:
    """Run a scorer in each of several processes until a signal ends them.

    Args:
        settings: As for :func:`~stream_scorer.scoring.process.run_scorer`.
        deployment: The same for all.
        workers: Number of processes. Those beyond the number of input partitions are standbys.

    Raises:
        SystemExit: With the exit code of a worker that is not restarted.
        StreamScorerError: The endpoint's address cannot be bound.
    """
    context = get_context("spawn")

    def start(number: int, pipe: Connection) -> SpawnProcess:
        process = context.Process(
            target=run_worker, name=f"worker-{number}",
            args=(os.getpid(), pipe, number, settings, deployment),
        )  # fmt: skip
        process.start()
        return process

    supervised(settings, workers, start)
