"""The client without a configured cluster."""

import os
from pathlib import Path

import pytest

from stream_scorer.client.topic import DecisionTopic
from stream_scorer.errors import SettingsError


def test_without_a_cluster_both_ways_to_name_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("STREAM_SCORER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"no Kafka cluster.*bootstrap=, .*kafka\.bootstrap"):
        DecisionTopic()
