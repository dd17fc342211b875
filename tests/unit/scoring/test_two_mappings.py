"""Two plans define an extra field differently: the rings keep both, whichever plan decides."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.ports import Paused
from stream_scorer.rollout.log.ready_versions import Pinned, ReadyVersions
from stream_scorer.scoring.held_partitions import _Restoring
from tests.support.rollout.mapped_extras import plan_of, ready, revision, write_model
from tests.unit.scoring.test_work import NOW, decisions, raw, rings_of, work

COUNT, SWITCH = 40, 25


def record(number: int) -> bytes:
    values: dict[str, Any] = {
        "id": f"t{number}", "ts": NOW - 1_000 + number, "card": f"c{number % 3}", "sum": 100,
        "Gross": 1.5 * number, "total": number * number,
    }  # fmt: skip
    if number == 7:
        # This record has no field for the second mapping.
        del values["total"]
    return json.dumps(values).encode()


def features(versions: Any) -> list[bytes]:
    records: list[bytes | None] = [record(number) for number in range(COUNT)]
    made = decisions(work(versions=versions).compute(raw(records), Stages()))
    assert len(made) == COUNT
    return [each["features"] for each in made]


def following(fleet: ReadyVersions) -> Any:
    def plans() -> dict[int, Plan]:
        return {each.revision: each.shared for each in fleet.routings}

    return SimpleNamespace(fleet=fleet, plans=plans, need=lambda _: None)


def pinned(model: Model, plan: Plan) -> list[bytes]:
    return features(Pinned(model, plan))


def test_the_next_mapping_finds_its_history_when_it_begins(tmp_path: Path) -> None:
    bundle = write_model(tmp_path)
    old, new = plan_of("Gross"), plan_of("total")
    fleet = ready(bundle, revision(1, old), revision(2, new, NOW - 1_000 + SWITCH))
    lenient = plan_of("total", optional=True)
    before, after = pinned(bundle.model(old), old), pinned(bundle.model(lenient), lenient)
    assert features(following(fleet)) == [*before[:SWITCH], *after[SWITCH:]]
    assert not set(before[SWITCH:]) & set(after[SWITCH:])


def test_a_mapping_that_waits_changes_no_decision(tmp_path: Path) -> None:
    bundle = write_model(tmp_path)
    old, new = plan_of("Gross"), plan_of("total")
    fleet = ready(bundle, revision(1, old), revision(2, new, NOW * 2))
    assert features(following(fleet)) == pinned(bundle.model(old), old)


def test_only_the_first_batch_compares_mappings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    reads_as = Plan.reads_as

    def counted(plan: Plan, other: Plan) -> bool:
        nonlocal compared
        compared += 1
        return reads_as(plan, other)

    # The first decides; rings keep a field as the second, which reads alike, and the third do.
    plans = plan_of("Gross"), plan_of("Gross"), plan_of("total")
    begin = None, NOW * 2, NOW * 3
    revisions = [revision(n, *each) for n, each in enumerate(zip(plans, begin, strict=True), 1)]
    scoring = work(versions=following(ready(write_model(tmp_path), *revisions)))
    batch = raw([record(number) for number in range(COUNT)])
    monkeypatch.setattr(Plan, "reads_as", counted)
    first = scoring.compute(batch, Stages())
    made = decisions(first)
    assert (len(made), compared > 0) == (COUNT, True)
    scoring.undo(first)
    compared = 0
    assert decisions(scoring.compute(batch, Stages())) == made
    assert compared == 0


def test_a_replay_that_pauses_midway_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = plan_of("Gross"), plan_of("total")
    fleet = ready(write_model(tmp_path), revision(1, old), revision(2, new, NOW * 2))
    scoring = work(versions=following(fleet))
    held, replay = scoring._held, SimpleNamespace(restored=None)
    restoring = _Restoring(replay, timeline=[(0, old), (100 + SWITCH, new)])  # type: ignore[arg-type]
    held._restoring[0] = restoring
    decode = held._decoders.decode

    def down(part: Any, plan: Plan, read_by: Any) -> Any:
        if plan is new:
            raise RegistryUnavailableError("the registry is down", "wait")
        return decode(part, plan, read_by)

    monkeypatch.setattr(held._decoders, "decode", down)
    batch = raw([record(number) for number in range(COUNT)])
    with pytest.raises(Paused, match="down"):
        held._refold(batch)
    assert (rings_of(scoring), restoring.beginning._newest) == ([], None)
    monkeypatch.undo()
    held._refold(batch)
    assert len(rings_of(scoring)) > 0
