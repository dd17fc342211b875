"""The scorer's keys of draws: read from private files, and refused with the plan if missing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import Draws
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.registry.sources import reader_schema
from stream_scorer.rollout.log.ready_versions import Pinned
from stream_scorer.scoring.process import draws_of
from stream_scorer.settings import Scorer, Settings
from tests.unit.core.exploring.test_draws import KEY, OTHER, explore, review
from tests.unit.scoring.test_work import FILES, raw, transaction, work


def test_the_keys_come_from_private_files(tmp_path: Path) -> None:
    explore_file, review_file = tmp_path / "explore", tmp_path / "review"
    for file, key in ((explore_file, KEY), (review_file, OTHER)):
        file.write_bytes(key)
        file.chmod(0o600)
    scorer = Scorer(explore_key_file=explore_file, review_key_file=review_file)
    draws = draws_of(Settings(scorer=scorer))
    assert (draws.explore_key, draws.review_key) == (KEY, OTHER)
    plan = replace(Plan(), label_policy={"unlabelled": "genuine"}, explore=explore(),
                   review_sample=review(OTHER))  # fmt: skip
    draws.check(plan)
    explore_file.chmod(0o640)
    with pytest.raises(SettingsError, match="explore_key_file: others than its owner"):
        draws_of(Settings(scorer=scorer))
    review_file.write_bytes(b"short")
    only = Scorer(review_key_file=review_file)
    with pytest.raises(SettingsError, match="review key: has 5 bytes, fewer than 32"):
        draws_of(Settings(scorer=only))


def test_without_files_there_are_no_keys() -> None:
    draws = draws_of(Settings())
    assert (draws.explore_key, draws.review_key) == (None, None)


def test_the_scorer_publishes_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    low = 1e-12
    plan = replace(
        Plan(), label_policy={"unlabelled": "genuine"},
        policy={"default": {"review": low, "block": low}},
        explore={**explore(), "bands": [{"from": low, "p": 0.5}]},
    )  # fmt: skip
    model, _ = load_model(Settings(), Deployment("fraud:1.0.0"))
    made = work(versions=Pinned(model, plan))
    monkeypatch.setattr(made._outputs, "draws", Draws(KEY))
    values = [transaction(n, customer_id=f"c{n}") for n in range(40)]
    result = made.compute(raw(list(values)), Stages())
    found = decisions_of(result)
    assert {each["policy_outcome"] for each in found} == {"BLOCK"}
    assert {each["decision"] for each in found} == {"BLOCK", "APPROVE"}
    assert {each["outcome_propensity"] for each in found} == {0.5}
    for each in found:
        assert ("let_through" in each["flags"]) == (each["decision"] == "APPROVE")
    # The summary counts what the policy says.
    (summary,) = [o for o in result.outgoing if o.topic == "summaries"]
    codec = RecordCodec(10, reader_schema("summary.v4"))
    windows = [w for value in summary.values for w in codec.decode(value or b"", FILES)["windows"]]
    assert sum(window["block"] for window in windows) == 40


def decisions_of(result: Result[Any]) -> list[dict[str, Any]]:
    (outgoing,) = [o for o in result.outgoing if o.topic == "decisions"]
    codec = RecordCodec(19, reader_schema("decision.v3"))
    return [codec.decode(value or b"", FILES) for value in outgoing.values]
