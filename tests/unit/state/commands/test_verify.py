"""A checkpoint whose rings keep an extra field in two definitions is compared with its input."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.decision.observe import PartitionRings, refold
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.models.bundles.loader import Bundle, load_bundle, models_under
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.rollout.log.ready_versions import ReadyVersions
from stream_scorer.settings import Models, Settings
from stream_scorer.state.checkpoints.formats import FORMAT, Bucket
from stream_scorer.state.checkpoints.history_coverage import since_of
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.commands import refold_input
from stream_scorer.state.commands.inspect import Checkpoint
from stream_scorer.state.commands.verify import verify
from stream_scorer.state.partitions import refold as refolding
from stream_scorer.state.partitions.checkpoint_writer import dump
from tests.support.codec.mapped_records import Schemas
from tests.support.models.noise_bundles import AMOUNT, LONGER, write
from tests.support.rollout.mapped_extras import VERSION, plan_of, ready, revision, write_model
from tests.support.rollout.written_log import Recorded
from tests.support.state.stores import MemoryStore

START = 1_522_600_000_000
STEP = 6 * 3_600_000
"""The rings of the model reach back 7 days, so some 28 records."""
COUNT, RESTART, SWITCH = 60, 20, 40
OWNER = Owner("g", "t")
OLD, NEW = revision(1, plan_of("Gross")), revision(2, plan_of("total"))


def time_of(number: int) -> int:
    return START + number * STEP


def records(first: int, end: int, **changes: Any) -> RawRecords:
    """Return the records of some offsets; the number of a record is its offset."""
    numbers = range(first, end)
    values = [
        {
            "id": f"t{number}", "ts": time_of(number), "card": f"c{number % 7}", "sum": 100,
            "Gross": 1.5 * number, "total": number * number,
        } | changes
        for number in numbers
    ]  # fmt: skip
    n = end - first
    return RawRecords(
        BytesColumn.of([json.dumps(each).encode() for each in values]), BytesColumn.nulls(n), None,
        np.zeros(n, np.int32), np.arange(first, end, dtype=np.int64),
        np.array([time_of(number) for number in numbers], np.int64),
    )  # fmt: skip


def score(rings: PartitionRings, fleet: ReadyVersions, by: Routing, raw: RawRecords) -> None:
    """Fold records as a scorer does that holds some revisions, of which one decides."""
    events, _, _ = EventDecoders(Schemas()).decode(raw, by.shared, fleet.read_by)
    rings.release(refold(events, rings, by.shared, fleet.features))


def dumped(rings: PartitionRings, offset: int, since: Mapping[str, int]) -> list[Bucket]:
    newest = time_of(offset - 1)
    return [
        dump(rings.of(0), 0, number, offset, 1, since, FORMAT, newest) for number in range(BUCKETS)
    ]


def name_of(routing: Routing) -> str:
    """Return what rings call the field as a revision defines it."""
    return fields_of(routing.shared)["gross"].stored


KNOWN = {name_of(NEW): time_of(RESTART - 1)}
"""Since when scorers that were restarted at ``RESTART`` have the new definition."""


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_model(tmp_path)


Differing = Callable[..., int]


@pytest.fixture
def differing(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Differing:
    """Return what counts the buckets that differ, after some activations."""

    def found(buckets: list[Bucket], *begun: tuple[int, int], newest: Routing = NEW) -> int:
        store: Any = MemoryStore()
        for bucket in buckets:
            store.write(0, bucket.records(OWNER))
        offset = max(bucket.offset for bucket in buckets)
        settings = Settings(models=Models(directory=tmp_path))
        checkpoint = Checkpoint(settings, OWNER, store, store, 1, {0: 0}, {0: offset})
        recorded = Recorded([OLD, newest], {0: begun})
        monkeypatch.setattr(refold_input, "RecordedRoutings", lambda _: recorded)
        monkeypatch.setattr(refolding, "input_of", lambda _, __, *ends: [records(*ends)])
        (told,) = verify(checkpoint, Deployment(follow=True))
        assert told.buckets == BUCKETS
        assert told.events > 0
        return len(told.differing)

    return found


def lives(bundle: Bundle) -> tuple[list[Bucket], list[Bucket], list[Bucket]]:
    """Return a checkpoint before a restart with the new plan, after it, and after its beginning."""
    first, both = ready(bundle, OLD), ready(bundle, OLD, NEW)
    rings = PartitionRings(first.features)
    score(rings, first, OLD, records(0, RESTART))
    before = dumped(rings, RESTART, {})
    rings = PartitionRings(both.features)
    for bucket in before:
        rings.of(0).load(bucket.payload)
    assert since_of(before, rings.of(0).fields, rings.of(0).retention) == KNOWN
    score(rings, both, OLD, records(RESTART, SWITCH))
    between = dumped(rings, SWITCH, KNOWN)
    score(rings, both, NEW, records(SWITCH, COUNT))
    return before, between, dumped(rings, COUNT, KNOWN)


def test_before_the_restart_buckets_agree(bundle: Bundle, differing: Differing) -> None:
    before, _, _ = lives(bundle)
    assert differing(before, (0, 1)) == 0


def test_after_the_restart_both_definitions_agree(bundle: Bundle, differing: Differing) -> None:
    _, between, after = lives(bundle)
    assert differing(between, (0, 1)) == 0
    assert differing(after, (0, 1), (SWITCH, 2)) == 0


def test_buckets_of_several_lives_agree(bundle: Bundle, differing: Differing) -> None:
    mixed = [each[number % 3] for number, each in enumerate(zip(*lives(bundle), strict=True))]
    assert len({bucket.offset for bucket in mixed if bucket.payload}) > 1
    assert differing(mixed, (0, 1), (SWITCH, 2)) == 0


@pytest.mark.parametrize(
    ("field", "number", "found"),
    [
        ("sum", 15, 1),
        ("Gross", 15, 1),
        ("Gross", 30, 1),
        ("total", 30, 1),
        # The scorer did not keep it at that time.
        ("total", 15, 0),
    ],
)
def test_a_wrong_value_of_either_definition_is_found(
    field: str, number: int, found: int, bundle: Bundle, differing: Differing
) -> None:
    both = ready(bundle, OLD, NEW)
    rings = PartitionRings(both.features)
    score(rings, both, OLD, records(0, number))
    score(rings, both, OLD, records(number, number + 1, **{field: 7}))
    score(rings, both, OLD, records(number + 1, SWITCH))
    assert differing(dumped(rings, SWITCH, KNOWN), (0, 1)) == found


def test_a_bucket_without_a_needed_field_is_found(bundle: Bundle, differing: Differing) -> None:
    before, _, _ = lives(bundle)
    holding = sum(bool(bucket.payload) for bucket in before)
    assert differing(before, (0, 1), (RESTART - 1, 2)) == holding


def test_a_field_that_no_plan_defines_is_found(bundle: Bundle, differing: Differing) -> None:
    _, between, _ = lives(bundle)
    holding = sum(bool(bucket.payload) for bucket in between)
    assert differing(between, (0, 1), newest=revision(2, plan_of("third"))) == holding


def test_a_longer_window_agrees_before_and_after_the_restart(
    bundle: Bundle, differing: Differing, tmp_path: Path
) -> None:
    write(tmp_path, "1.3.0", (AMOUNT, LONGER))
    newest = Routing.alone(Version("fraud", "1.3.0"), replace(OLD.shared, revision=2))
    first = ready(bundle, OLD)
    rings = PartitionRings(first.features)
    for number in range(SWITCH):
        score(rings, first, OLD, records(number, number + 1))
    before = dumped(rings, SWITCH, {})
    assert differing(before, (0, 1), newest=newest) == 0
    longer = load_bundle(tmp_path / "fraud" / "1.3.0")
    (wide, _) = models_under([(bundle, OLD.shared), (longer, OLD.shared)])
    rings = PartitionRings(wide.features)
    for bucket in before:
        rings.of(0).load(bucket.payload)
    since = since_of(before, rings.of(0).fields, rings.of(0).retention)
    fleet = ReadyVersions({1: {VERSION: wide}}, (OLD,))
    score(rings, fleet, OLD, records(SWITCH, COUNT))
    assert differing(dumped(rings, COUNT, since), (0, 1), newest=newest) == 0
