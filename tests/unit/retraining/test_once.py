"""What a person asks for: of the process that has the folder, or done here, and asked for once."""

from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.retraining.run.process import retrain_once
from stream_scorer.retraining.run.state_files import RunStore
from stream_scorer.settings import Retrain, Settings


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "retrain.toml"
    path.write_text("cost_of_retraining = 1.0\nhorizon_days = 1\n")
    return path


def test_the_process_that_has_the_folder_is_asked(rules: Path, tmp_path: Path) -> None:
    settings = Settings(retrain=Retrain(directory=tmp_path / "retrain"))
    store = RunStore(tmp_path / "retrain")
    with store.locked():
        told = retrain_once(settings, rules, "we want it", lambda _: None)
    assert told == {"asked": True, "reason": "we want it"}
    assert store.asked() == "we want it"


def test_what_ends_with_an_error_is_not_asked_for_again(rules: Path, tmp_path: Path) -> None:
    settings = Settings(retrain=Retrain(directory=tmp_path / "retrain"))
    with pytest.raises(SettingsError, match=r"retrain\.key: a trainer signs"):
        retrain_once(settings, rules, "we want it", lambda _: None)
    assert RunStore(tmp_path / "retrain").asked() == ""
