"""What a person asks for: of the process that has the folder, or done here, and asked for once."""

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from unittest.mock import Mock, call

import pytest

from stream_scorer.errors import RolloutError, SettingsError
from stream_scorer.retraining.run import once
from stream_scorer.retraining.run.once import retrain_once
from stream_scorer.retraining.run.state_files import RunStore
from stream_scorer.settings import Kafka, Retrain, Settings


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


def test_calls_at_the_same_moment_ask_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, later = os.fsync, list[Future[str]]()
    with ThreadPoolExecutor(1) as pool:

        def another_asks(number: int) -> None:
            if not later:
                later.append(pool.submit(RunStore(tmp_path).ask, "second"))
                wait(later, 0.2)
            sync(number)

        monkeypatch.setattr(os, "fsync", another_asks)
        RunStore(tmp_path).ask("first")
        later[0].result()
    assert RunStore(tmp_path).asked() == "second"


def test_what_ends_with_an_error_is_not_asked_for_again(rules: Path, tmp_path: Path) -> None:
    settings = Settings(retrain=Retrain(directory=tmp_path / "retrain"))
    with pytest.raises(SettingsError, match=r"retrain\.key: a trainer signs"):
        retrain_once(settings, rules, "we want it", lambda _: None)
    assert RunStore(tmp_path / "retrain").asked() == ""


def test_what_another_asks_for_while_a_run_ends_stays(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(retrain=Retrain(directory=tmp_path / "retrain"))

    def others(*_: object) -> list[tuple[str, str]]:
        assert retrain_once(settings, rules, "me, too", lambda _: None)["asked"]
        raise RolloutError("held back", "")

    monkeypatch.setattr(once, "Trainer", Mock())
    monkeypatch.setattr(once, "members", others)
    with pytest.raises(RolloutError, match="held back"):
        retrain_once(settings, rules, "first", lambda _: None)
    assert RunStore(tmp_path / "retrain").asked() == "me, too"


def test_a_trainer_of_another_host_holds_it_back(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(retrain=Retrain(directory=tmp_path / "retrain"))
    trainer, asked = Mock(), list[str]()

    def others(_: Kafka, group: str) -> list[tuple[str, str]]:
        asked.append(group)
        return [("id", "there")]

    monkeypatch.setattr(once, "Trainer", Mock(return_value=trainer))
    monkeypatch.setattr(once, "members", others)
    with pytest.raises(RolloutError, match="the trainer there runs on another host"):
        retrain_once(settings, rules, "we want it", lambda _: None)
    assert asked == [settings.of_process("retrain").kafka.group]
    assert trainer.mock_calls == [call.close()]
    assert RunStore(tmp_path / "retrain").asked() == ""
