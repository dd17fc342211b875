"""What rings of a group with a rollout keep, and which mapping reads each record of its input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.rollout.log import load_versions
from stream_scorer.rollout.log.load_versions import LiveVersions
from stream_scorer.settings import Models, Settings
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.ring_columns import columns_of
from stream_scorer.state.commands import refold_input
from stream_scorer.state.commands.refold_input import open_layout
from stream_scorer.state.partitions import refold
from stream_scorer.state.partitions.refold import Refolding
from stream_scorer.state.partitions.rejected_offsets import Rejected
from tests.support.models.noise_bundles import AMOUNT, FIELD, LONGER, write
from tests.support.rollout.mapped_extras import FIELDS, plan_of, revision, write_model
from tests.support.rollout.written_log import Log, Recorded

NOW = 1_522_600_000_000
COUNT, SWITCH = 40, 25
FOLLOWING = Deployment(follow=True)
NULL = 1


def renamed(path: str) -> Plan:
    """Return a plan that finds the transaction's id elsewhere, and the extra field at a path."""
    events: dict[str, Any] = {
        "record": {"format": "json"}, "fields": FIELDS | {"transaction_id": "no"},
        "extra": {"gross": {"path": path, "type": "double"}},
    }  # fmt: skip
    return plan_from({"events": events})


OLD, NEW = plan_of("Gross"), renamed("total")


def record(number: int) -> dict[str, Any]:
    """Return a record; before ``SWITCH`` it has the old id, and from 10 on the new one."""
    values = {
        "ts": NOW - 1_000 + number, "card": f"c{number % 3}", "sum": 100,
        "Gross": "x" if number == 31 else 1.5 * number,
        "total": "x" if number == 5 else float(number * number),
        "key": f"k{number}", "iso": "USD" if number % 2 else "EUR",
    }  # fmt: skip
    ids = {"id": f"t{number}"} if number < SWITCH else {}
    return values | ids | ({"no": f"t{number}"} if number >= 10 else {})


def read(partition: int, first: int, end: int) -> RawRecords:
    """Return the records of some offsets; the number of a record is its offset."""
    n = end - first
    return RawRecords(
        BytesColumn.of([json.dumps(record(number)).encode() for number in range(first, end)]),
        BytesColumn.nulls(n), None, np.full(n, partition, np.int32),
        np.arange(first, end, dtype=np.int64), np.full(n, NOW, np.int64),
    )  # fmt: skip


def kept(number: int) -> tuple[int, int]:
    """Return what rings keep of the field of a record as both plans define it, in plain Python."""
    values = [record(number)[name] for name in PATHS]
    bits = [
        NULL if each == "x" else int(np.float64(each).view(np.int64) ^ 0x7FF8000000000002)
        for each in values
    ]
    return bits[0], bits[1]


PATHS = ("Gross", "total")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings of a store without a plan file."""
    write_model(tmp_path)
    return Settings(models=Models(directory=tmp_path))


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what sets the control log and the activations."""

    def followed(routings: list[Routing], begun: dict[int, list[tuple[int, int]]]) -> None:
        recorded = Recorded(routings, begun)
        monkeypatch.setattr(refold_input, "RecordedRoutings", lambda _: recorded)

    monkeypatch.setattr(
        refold, "input_of", lambda _, partition, first, end: [read(partition, first, end)]
    )
    return followed


def folded(folding: Refolding, partition: int = 0) -> dict[int, tuple[int, ...]]:
    """Return what rings keep of the further fields, by the number of the record."""
    rings = folding.rings()
    folding.fold(rings, partition, 0, COUNT, Rejected(Owner("g", "t"), partition))
    found: dict[int, tuple[int, ...]] = {}
    for bucket in range(BUCKETS):
        columns = columns_of(rings.of(partition).dump(bucket))
        values = zip(*(each.tolist() for each in columns.fields.values()), strict=True)
        for time, fields in zip(columns.time.tolist(), values, strict=True):
            found[time - NOW + 1_000] = fields
    return found


def stored(*plans: Plan) -> list[str]:
    """Return what rings call the field as each plan defines it."""
    return [fields_of(plan)["gross"].stored for plan in plans]


def test_each_record_is_read_by_the_mapping_of_its_offset(settings: Settings, follow: Any) -> None:
    follow([revision(1, OLD), revision(2, NEW)], {0: [(0, 1), (SWITCH, 2)], 1: [(0, 1)]})
    folding = open_layout(settings, FOLLOWING).folding()
    names = folding.rings().of(0).fields
    assert set(names) == set(stored(OLD, NEW))
    order = [names.index(name) for name in stored(OLD, NEW)]
    found = {number: tuple(each[at] for at in order) for number, each in folded(folding).items()}
    assert found == {number: kept(number) for number in range(COUNT)}
    # In the other partition the first mapping decides, which cannot read the later records.
    assert sorted(folded(folding, 1)) == list(range(SWITCH))


def test_earlier_records_are_read_by_the_first_plan(settings: Settings, follow: Any) -> None:
    follow([revision(1, OLD), revision(2, NEW)], {0: [(SWITCH, 1)], 1: [(SWITCH, 2)]})
    folding = open_layout(settings, FOLLOWING).folding()
    assert sorted(folded(folding, 0)) == list(range(SWITCH))
    assert sorted(folded(folding, 1)) == list(range(10, COUNT))


CASES: dict[str, tuple[list[Routing], dict[int, list[tuple[int, int]]]]] = {
    "one": ([revision(1, OLD)], {0: [(0, 1)]}),
    "none waits": ([revision(1, OLD), revision(2, NEW)], {0: [(0, 1), (9, 2)]}),
    "one is refused by those that run": ([revision(1, OLD), revision(2, NEW)], {0: [(0, 1)]}),
    "one has a time": ([revision(1, OLD), revision(2, NEW, NOW)], {0: [(0, 1), (9, 2)]}),
    "partitions differ": (
        [revision(1, OLD), revision(2, NEW), revision(3, plan_of("third"))],
        {0: [(0, 1), (9, 3)], 1: [(0, 1), (9, 2)]},
    ),
    "one lacks the field": ([revision(1, OLD), revision(2, plan_of(None))], {0: [(0, 1)]}),
}


@pytest.mark.parametrize("warm", [None, "fraud:1.3.0"])
@pytest.mark.parametrize("case", CASES)
def test_rings_are_those_of_a_scorer_that_starts_now(
    case: str, warm: str | None, settings: Settings, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = settings.models.directory
    write(store, "1.3.0", (AMOUNT, LONGER, FIELD | {"field": "country"}))
    routings, begun = CASES[case]
    follow(routings, begun)
    layout = open_layout(settings, Deployment(follow=True, warm=warm))
    log = Log()
    log.add(*routings)
    monkeypatch.setattr(load_versions, "ControlLog", lambda *_: log)
    versions = LiveVersions(settings, lambda _: None, warm)
    engine = versions.wait({each[-1][1] for each in begun.values()}).features.engine
    folding = layout.folding()
    assert folding.rings().of(0).fields == engine.fields
    assert folding.retention == engine.retention


def test_further_fields_are_those_that_some_plan_defines(settings: Settings, follow: Any) -> None:
    follow([revision(1, OLD), revision(2, NEW)], {0: [(0, 1), (SWITCH, 2)]})
    layout = open_layout(settings, FOLLOWING)
    (old,), (new,), (other,) = stored(OLD), stored(NEW), stored(plan_of("third"))
    assert layout.folding().rings().of(0).fields == (new,)
    folding = layout.folding([old, new, other, "mcc"])
    names = folding.rings().of(0).fields
    assert names == ("mcc", *sorted([old, new]))
    found = folded(folding)
    place = names.index(old), names.index(new)
    both = {number: (each[place[0]], each[place[1]]) for number, each in found.items()}
    assert both == {number: kept(number) for number in range(COUNT)}


def test_a_bucket_needs_the_fields_of_its_revision(settings: Settings, follow: Any) -> None:
    follow([revision(1, OLD), revision(2, NEW)], {0: [(3, 1), (SWITCH, 2)]})
    needed = open_layout(settings, FOLLOWING).needed
    assert needed(0, 3) == frozenset()
    assert needed(0, 4) == needed(0, SWITCH) == frozenset(stored(OLD))
    assert needed(0, SWITCH + 1) == frozenset(stored(NEW))
    assert needed(1, SWITCH + 1) == frozenset()


def test_with_a_rollout_named_versions_need_no_plan_file(settings: Settings, follow: Any) -> None:
    write(settings.models.directory, "1.3.0", (AMOUNT, LONGER, FIELD | {"field": "country"}))
    follow([revision(1, OLD), revision(2, NEW)], {0: [(0, 1), (SWITCH, 2)]})
    layout = open_layout(settings, Deployment("fraud:1.0.0", warm="fraud:1.3.0"))
    names = layout.folding().rings().of(0).fields
    assert names == ("country", *stored(NEW))
    assert layout.needed(0, 5) == layout.needed(0, SWITCH + 5) == frozenset(names)
    found = {number: each[1] for number, each in folded(layout.folding()).items()}
    assert found == {number: kept(number)[1] for number in range(COUNT)}


def test_records_of_a_currency_that_a_plan_removed_are_kept(
    settings: Settings, follow: Any
) -> None:
    both, euros = (
        plan_from({
            "events": OLD.events | {
                "fields": FIELDS | {"transaction_id": "key", "currency": "iso"},
                "rates": {"base": "EUR", **{name: {"1970-01-01": "0.5"} for name in others}},
            },
            "currencies": {"EUR": 2, **dict.fromkeys(others, 2)},
        })
        for others in (["USD"], [])
    )  # fmt: skip
    follow([revision(1, both), revision(2, euros)], {0: [(0, 1), (SWITCH, 2)]})
    found = folded(open_layout(settings, FOLLOWING).folding())
    assert sorted(found) == [*range(SWITCH), *range(SWITCH + 1, COUNT, 2)]


def test_without_a_rollout_the_plan_file_is_read(settings: Settings, follow: Any) -> None:
    follow([], {})
    with pytest.raises(SettingsError, match=r"fraud/plan\.toml: No such file"):
        open_layout(settings, FOLLOWING)


def test_a_log_of_which_nothing_can_be_used_is_refused(settings: Settings, follow: Any) -> None:
    follow([revision(1, plan_of(None))], {0: [(0, 1)]})
    with pytest.raises(ModelError, match=r"^revision 1: .*gross"):
        open_layout(settings, FOLLOWING)
