"""A device's state: is it the stream's after kills and cuts, how large is it, how fast are answers?

``python -m bench.edge_steps.device`` decides 3,000 transactions of 50 customers on a device that is
killed five times at steps of its writes drawn at random, whose disk is full once, and whose clock
goes back by an hour once. Every feature is compared, bit for bit, with one batch of the core. Then
the log is cut at each of its last 4,096 bytes, and opened again: with the outbox, and without it.

- ``features_equal``: events whose features have the same bits, of ``events``.
- ``cuts_repaired``: cuts after which the outbox restores all rows, of ``cuts``; ``cuts_prefixes``:
  cuts after which the rings are those of an earlier row, without the outbox; ``cuts_continued``: of
  ``cuts_rows`` such rows, those after which the same events have the same features.
- ``sizes``: by events of a customer, for 10,000 customers: bytes of the log and of the rings in
  memory, and seconds to write and to read the snapshot.
- ``decision_ms``: age of an answer, which is on the disk; ``decisions_per_second`` of one client,
  and of eight.
"""

import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench.harness.script import Script, missed, table
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.rings.rings import RingColumns
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.device.decide import RecordDecider
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.device.state import LOG, OUTBOX
from stream_scorer.edge.files.log import DeviceLog, create_log
from tests.support.device.device_child import KILLED, ChildOrder, ended, fork_server
from tests.support.device.device_world import (
    DEVICE,
    NOW,
    DeviceWorld,
    Rings,
    content,
    device_world,
    make_release,
    memory_folder,
    record,
)

KILLS: Final = 5
CUSTOMERS: Final = 50
CUTS: Final = 4_096
SIZED_CUSTOMERS: Final = 10_000
SIZED_EVENTS: Final = (20, 60, 100)
JUDGED_EVENTS: Final = 60
BYTES_MOST: Final = 20_000_000
_STEPS: Final = ("before append", "appended", "synced", "new written", "new synced", "renamed")
TAIL: Final = 40
_MONTH_MS: Final = 30 * 86_400_000
_HOUR_MS: Final = 3_600_000
_VIEWS: Final = ("key_words", "times")
"""Arrays of rings that are others' memory."""


def survive(world: DeviceWorld, events: int) -> dict[str, Any]:
    """Decide on a device that is killed, has a full disk and a clock that goes back."""
    context, key = fork_server(), world.key.private_bytes_raw()
    draw = random.Random(21)  # noqa: S311 a bench's choice
    reached, killed, share = 0, 0, events // (KILLS + 3)

    def order(**more: Any) -> ChildOrder:
        return ChildOrder(
            world.folder, world.place, key, reached, events, tail=share // 2, customers=CUSTOMERS,
            **more,
        )  # fmt: skip

    def sequence() -> int:
        state = world.state()
        state.close()
        return state.history.sequence

    for _ in range(KILLS):
        step = draw.choice(_STEPS)
        times = 1 if "new" in step or step == "renamed" else share
        killed += ended(context, order(step=step, times=times)) == KILLED
        reached = sequence()
    size = max((world.folder / name).stat().st_size for name in (LOG, "outbox.sqlite"))
    full = ended(context, order(file_most=size + 50_000))
    before, reached = reached, sequence()
    finished = ended(context, order(clock_back=_HOUR_MS))
    return {
        "killed": killed, "disk_full": full == 0 and before < reached < events,
        "finished": finished == 0 and sequence() == events,
    }  # fmt: skip


def features_of(world: DeviceWorld, events: int) -> list[bytes]:
    """Return the features that one batch of the core computes for the same events."""
    release = world.release
    reader = RecordDecider(release, DeviceHistory(release.model.features))
    read = [reader.read(record(n, CUSTOMERS).value, world.wall()).events for n in range(events)]
    (joined,) = pa.Table.from_batches([each.records for each in read]).combine_chunks().to_batches()
    batch = EventBatch(
        joined, np.zeros(events, np.int32), np.arange(events), np.full(events, world.wall())
    )
    rings = PartitionRings(release.model.features)
    made = decide_alone(batch, rings, release.model, release.plan).decided[0].decisions
    return [row.tobytes() for row in made.features]


def features_on(world: DeviceWorld) -> dict[int, bytes]:
    """Return the features of the rows that wait on a device, by number."""
    state = world.state()
    rows = state.outbox.first(1_000_000)
    state.close()
    return {each.row.sequence: decode_decision(each.row.decision).features for each in rows}


def decide_tail(world: DeviceWorld, events: int) -> dict[int, Rings]:
    """Decide further events, so that the end of the log is not a snapshot.

    Returns:
        The rings after each of them, by the number of its row.
    """
    state, after = world.state(), {}
    with world.scorer(state) as scorer:
        for number in range(events, events + TAIL):
            sequence = scorer.decide(record(number, CUSTOMERS)).sequence
            after[sequence] = content(state.history)
    return after


def cut(world: DeviceWorld, folder: Path, cuts: int, after: dict[int, Rings]) -> dict[str, int]:
    """Cut the log at each of its last bytes, with the outbox and without it.

    With the outbox, nothing is lost. Without it, the device is as it was at an earlier row, and
    computes the same features for what it is sent again.
    """
    whole, wanted, last = (world.folder / LOG).read_bytes(), features_on(world), max(after)
    kept, bare = (replace(world, folder=folder / name) for name in ("kept", "bare"))
    for each in (kept, bare):
        shutil.copytree(world.folder, each.folder)
    repaired = prefixes = 0
    continued: dict[int, bool] = {}
    for end in range(len(whole) - cuts, len(whole)):
        (kept.folder / LOG).write_bytes(whole[:end])
        state = kept.state()
        repaired += state.history.sequence == last and content(state.history) == after[last]
        state.close()
        for path in bare.folder.glob(f"{OUTBOX}*"):
            path.unlink()
        (bare.folder / LOG).write_bytes(whole[:end])
        state = bare.state()
        reached = state.history.sequence
        prefixes += reached < last and content(state.history) == after[reached]
        state.close()
        if reached not in continued:
            with bare.scorer() as scorer:
                for number in range(reached, last):
                    scorer.decide(record(number, CUSTOMERS))
            found = features_on(bare)
            continued[reached] = all(
                found[each] == wanted[each] for each in range(reached + 1, last + 1)
            )
    return {
        "cuts_repaired": repaired, "cuts_prefixes": prefixes,
        "cuts_continued": sum(continued.values()), "cuts_rows": len(continued),
    }  # fmt: skip


def size_of(world: DeviceWorld, folder: Path, each: int) -> dict[str, Any]:
    """Return the size of a device with 10,000 customers of so many events in 30 days."""
    history = DeviceHistory(world.release.model.features)
    count = SIZED_CUSTOMERS * each
    draw = np.random.default_rng(each)
    customers = pa.array([f"{n:016d}" for n in range(SIZED_CUSTOMERS)]).take(
        pa.array(np.arange(count) % SIZED_CUSTOMERS)
    )
    columns = RingColumns(
        customers, hashes_of(customers), draw.integers(0, 2**63, count).astype(np.uint64),
        NOW + np.arange(count) * _MONTH_MS // count, draw.integers(100, 100_000, count),
        np.empty((0, count), np.int64),
    )  # fmt: skip
    own = history.own
    own.release(
        own.fold(
            np.arange(count), columns, np.zeros(count, np.bool_), np.empty(count, np.uint8), None
        )
    )
    own.watermark = int(NOW)
    began = time.perf_counter()
    create_log(folder / LOG, world.cipher, world.identity(), history.snapshot()).close()
    written = time.perf_counter()
    again = DeviceHistory(world.release.model.features)
    with DeviceLog(folder / LOG, world.cipher, DEVICE) as log:
        again.restore(log.frames())
    read = time.perf_counter()
    arrays = again.own._store._asdict()  # noqa: SLF001 a bench may look inside
    memory = sum(array.nbytes for name, array in arrays.items() if name not in _VIEWS)
    return {
        "events": each, "log_bytes": (folder / LOG).stat().st_size, "memory_bytes": memory,
        "write_seconds": round(written - began, 3), "read_seconds": round(read - written, 3),
    }  # fmt: skip


def answer_times(world: DeviceWorld, events: int) -> dict[str, Any]:
    """Return how long answers take, and how many a device gives."""
    with world.scorer() as scorer:
        for number in range(50):
            scorer.decide(record(10**6 + number))
        times = []
        for number in range(events):
            began = time.perf_counter()
            scorer.decide(record(2 * 10**6 + number))
            times.append(time.perf_counter() - began)
        with ThreadPoolExecutor(8) as pool:
            began = time.perf_counter()
            list(pool.map(lambda n: scorer.decide(record(3 * 10**6 + n)), range(events)))
            together = events / (time.perf_counter() - began)
    p50, p99 = (round(float(each) * 1_000, 3) for each in np.quantile(times, (0.5, 0.99)))
    return {
        "decision_ms": {"p50": p50, "p99": p99},
        "decisions_per_second": {"one": round(1 / (sum(times) / events)), "eight": round(together)},
    }


def measure_device(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Return the report."""
    events, cuts = (600, 256) if quick else (3_000, CUTS)
    place = make_release(folder / "release")
    world = device_world(folder / "device", place)
    found: dict[str, Any] = {"events": events + TAIL, "cuts": cuts} | survive(world, events)
    after = decide_tail(world, events)
    wanted, told = features_of(world, events + TAIL), features_on(world)
    same = (told.get(number) == each for number, each in enumerate(wanted, 1))
    found["features_equal"] = sum(same)
    with memory_folder(folder) as copies:
        found |= cut(world, copies, cuts, after)
    (folder / "sized").mkdir()
    found["sizes"] = [size_of(world, folder / "sized", each) for each in SIZED_EVENTS]
    timed = device_world(folder / "timed", place)
    timed.wall = lambda: NOW + 10**12
    return found | answer_times(timed, 300 if quick else 3_000)


def device_failures(found: dict[str, Any]) -> list[str]:
    """Return one line for each promise that is missed."""
    judged = next(each for each in found["sizes"] if each["events"] == JUDGED_EVENTS)
    failed = missed(
        ("{} kills", found["killed"], "==", KILLS),
        ("{} events have the core's features", found["features_equal"], "==", found["events"]),
        ("{} cuts are repaired by the outbox", found["cuts_repaired"], "==", found["cuts"]),
        ("{} cuts leave an earlier state", found["cuts_prefixes"], "==", found["cuts"]),
        ("{} earlier states continue alike", found["cuts_continued"], "==", found["cuts_rows"]),
        ("{} bytes of log at 60 events", judged["log_bytes"], "<=", BYTES_MOST),
        ("{} bytes of memory at 60 events", judged["memory_bytes"], "<=", BYTES_MOST),
    )
    failed += [f"{name}: did not happen" for name in ("disk_full", "finished") if not found[name]]
    return failed


def main() -> int:
    script = Script(__doc__, "600 transactions and 256 cuts")
    with tempfile.TemporaryDirectory(prefix="device-") as folder:
        found = measure_device(Path(folder), quick=script.quick)
    sizes = (each.values() for each in found["sizes"])
    shown = table("10,000 customers", *found["sizes"][0], rows=sizes)
    return script.conclude(found | {"seconds": script.seconds}, device_failures(found), shown)


if __name__ == "__main__":
    sys.exit(main())
