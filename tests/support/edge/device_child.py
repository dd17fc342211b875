"""A device in a process of its own, which ends at a step of its writes as by kill -9."""

import multiprocessing
import os
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.device import state as device_state
from stream_scorer.edge.device.scorer import DeviceRefused
from tests.support.edge.device_world import DeviceWorld, device_world, record


def fork_server() -> ForkServerContext:
    """Return what starts children quickly: one process imports all, and each child is its fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.edge.device_child"])
    return context


class KilledAt:
    """A hook that kills the process when a step is reached for the n-th time."""

    def __init__(self, step: str, times: int) -> None:
        self._step = step
        self._left = times

    def __call__(self, step: str) -> None:
        """Note a step."""
        if step == self._step:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def decide_until_killed(
    folder: Path, release: Path, key: bytes, first: int, end: int, step: str, times: int,
    tail: int,
) -> None:  # fmt: skip
    """Decide transactions; each that was answered is noted in ``answered``.

    Args:
        folder: The device's folder.
        release: The release.
        key: The signing key, raw.
        first: Number of the first transaction.
        end: Number after the last one.
        step: Where the process ends.
        times: When the step is reached for so many times.
        tail: Events after which the log is written again.
    """
    device_state.TAIL_EVENTS_MOST = tail  # type: ignore[misc]
    world: DeviceWorld = device_world(folder, release)
    world.key = Ed25519PrivateKey.from_private_bytes(key)
    # Not the device's own files: they are written before its answer counts.
    answered = os.open(folder / "answered", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with world.scorer(world.state(KilledAt(step, times))) as scorer:
        for number in range(first, end):
            try:
                scorer.decide(record(number))
            except DeviceRefused:
                return
            os.write(answered, b"%d\n" % number)
