"""The scorer's keys of draws: read from private files, and refused with the plan if missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.scoring.process import draws_of
from stream_scorer.settings import Scorer, Settings
from tests.unit.core.exploring.test_draws import KEY, OTHER, explore, review


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
