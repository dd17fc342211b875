"""Twenty kills at random moments, of workers under one parent and of the parent itself."""

import signal

import psutil

from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import wait_until

_KILLS = 20
_WORKERS = 2
_LEAST, _MOST = 1, 500
"""Limits for the number of outcomes between two kills."""


def _gone(process: psutil.Process) -> bool:
    """Return whether a process has ended, by its status in the kernel."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    except psutil.NoSuchProcess:
        return True


@kind("process")
def twenty_kills(stage: Stage) -> None:
    """SIGKILL twenty times at random moments under load: a worker of two, or their parent."""
    arguments = ("--workers", str(_WORKERS))
    parent = stage.start(arguments=arguments)
    gone = parents = 0
    for _ in range(_KILLS):
        stage.wait_decided(stage.random.randint(_LEAST, _MOST))
        # A worker that waits for its restart cannot be killed; the parent always can.
        victims = [psutil.Process(parent.pid), *parent.workers()]
        victim = stage.random.choice(victims)
        dying = victims if victim.pid == parent.pid else [victim]
        victim.send_signal(signal.SIGKILL)
        if victim.pid == parent.pid:
            parents += 1
            parent.wait()
            # The kernel kills the workers together with their parent.
            wait_until(lambda dying=dying: all(map(_gone, dying)), "its workers are gone too")  # type: ignore[misc]
            parent = stage.scorer(arguments=arguments, wait=False)
        else:
            wait_until(lambda victim=victim: _gone(victim), "the killed worker is gone")  # type: ignore[misc]
        gone += all(map(_gone, dying))
    stage.fired(gone, f"SIGKILL, each after further decisions, {parents} of them of the parent")
    stage.fault_over()
    stage.finish()
