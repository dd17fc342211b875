"""Features by terminal on a device: from the rows that it was provisioned with, and no later."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import Flag
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.device.decide import RecordDecider
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.device.release import load_release
from stream_scorer.edge.files.seed import TerminalRows
from stream_scorer.errors import EdgeError
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.device.device_world import NOW, DeviceWorld, make_release, record

_DAY = 86_400_000
MARK = NOW - 2 * _DAY


def rows() -> TerminalRows:
    """Return rows of the terminals ``x0`` to ``x6`` in the month before the watermark."""
    count = 700
    names = pa.array([f"x{number % 7}" for number in range(count)])
    time = MARK - np.arange(count, dtype=np.int64) * (30 * _DAY // count)
    state = (np.arange(count) % 5 == 0).astype(np.uint8)
    return TerminalRows(MARK, MARK - 60 * _DAY, hashes_of(names), time, state)


def test_a_model_with_terminals_needs_their_rows(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "release", "1.1.1")
    with pytest.raises(EdgeError, match="no rows"):
        load_release(folder, SCHEMAS_DIRECTORY, ANY)


def test_terminals_are_seen_as_in_the_stream_until_they_age(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "release", "1.1.1")
    release = load_release(folder, SCHEMAS_DIRECTORY, ANY, terminals=rows().table())
    (tmp_path / "device").mkdir()
    world = DeviceWorld(tmp_path / "device", release, folder)
    # The rows serve events up to seven days after their watermark.
    last = MARK + release.plan.terminal_delay_ms
    records = [record(n, event_time=time) for n, time in enumerate((NOW, last, last + 1))]
    with world.scorer() as scorer:
        answers = [scorer.decide(each) for each in records]
    assert [each.flags for each in answers] == [0, 0, Flag.DEGRADED]
    state = world.state()
    found = [decode_decision(each.row.decision) for each in state.outbox.first(9)]
    state.close()
    assert [each.terminal_watermark for each in found] == [
        NOW - release.plan.terminal_delay_ms, MARK, MARK
    ]  # fmt: skip
    reader = RecordDecider(release, DeviceHistory(release.model.features))
    for each, decision in zip(records, found, strict=True):
        events = reader.read(each.value, world.wall()).events
        rings = PartitionRings(release.model.features)
        made = decide_alone(events, rings, release.model, release.plan, terminals=rows().table())
        assert decision.features == made.decided[0].decisions.features[0].tobytes()
    assert max(np.frombuffer(found[0].features)) > 0.1
