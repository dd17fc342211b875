"""A supervisor over workers with scripted behaviour; run as a program by test_supervisor.

``FOLDER PORT ACT...``: each worker writes its process id to ``FOLDER/NUMBER-START`` and then does
its act: ``run`` until SIGTERM, ``hang`` (once, when it has been ready), ``finish`` (leave a mark
after SIGTERM), ``deaf`` (ignore it), ``exit CODE`` (once the others have begun), or ``hear`` (wait
for SIGHUP without a handler, then leave a mark for each).
"""

import os
import signal
import sys
import threading
import time
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from prometheus_client import CollectorRegistry

from stream_scorer.observability.health import Health
from stream_scorer.processes.signals import asked_by_hangup
from stream_scorer.processes.supervisor import supervised
from stream_scorer.processes.worker_report import Reporter, ended_in_one_line, tie_to
from stream_scorer.settings import load_settings
from stream_scorer.telemetry import PartitionsAssigned


def child(parent: int, pipe: Connection, number: int, workers: int, folder: Path, act: str) -> None:
    tie_to(parent)
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if act == "deaf" else asked.set())
    start = sum(1 for _ in folder.glob(f"{number}-*"))
    (folder / f"{number}-{start}").write_text(f"{os.getpid()}\n")
    if act.startswith("exit"):
        while len({path.name.split("-")[0] for path in folder.glob("[0-9]-*")}) < workers:
            time.sleep(0.01)
        sys.exit(int(act.split()[1]))
    if act == "hear":
        hear(folder, number)
    health = Health()
    health.model_loaded()
    health(PartitionsAssigned(()))
    with Reporter(pipe, CollectorRegistry(), health, 0.1):
        # A handler runs between waits only.
        until = time.monotonic() + 1.0
        while not asked.wait(0.05):
            if act == "hang" and not start and time.monotonic() > until:
                continue
            health.heartbeat()
    if act == "finish":
        (folder / f"finished-{number}").touch()


def hear(folder: Path, number: int) -> None:
    """Wait until SIGHUP has come and is held back; only then have a handler."""
    while signal.SIGHUP not in signal.sigpending():
        time.sleep(0.01)
    with asked_by_hangup((folder / f"heard-{number}").touch):
        pass


def main() -> None:
    folder, port, *acts = sys.argv[1:]
    settings = load_settings(
        {"http": {"port": int(port)}, "scorer": {"shutdown_seconds": 1.0}, "kafka": {}}
    )
    context = get_context("spawn")

    def start(number: int, pipe: Connection) -> SpawnProcess:
        arguments = (os.getpid(), pipe, number, len(acts), Path(folder), acts[number])
        process = context.Process(target=child, args=arguments)
        process.start()
        return process

    supervised(settings, len(acts), start)


if __name__ == "__main__":
    ended_in_one_line("supervisor", partial(main))
