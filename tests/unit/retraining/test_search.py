"""A search that is killed continues with the trials that it would have had."""

import math
from collections.abc import Sequence

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.retraining.rules.contract import SearchRange
from stream_scorer.retraining.search import search as searching
from stream_scorer.retraining.search.contract import SearchTrial
from stream_scorer.retraining.search.search import Parameters, Space, best_of, sampled, search

SPACE: Space = {
    "rate": SearchRange(0.01, 1.0, log=True), "nodes": SearchRange(2, 64, whole=True),
    "kind": ("a", "b"), "share": SearchRange(0.0, 1.0),
}  # fmt: skip


def judge(parameters: Parameters) -> tuple[float, float]:
    if parameters["nodes"] == 2:
        return math.nan, 0.0
    return 1.0 - abs(math.log10(float(parameters["rate"])) + 1) / 2, 0.0


@pytest.mark.parametrize("optuna", [True, False])
def test_a_kill_changes_no_trial(monkeypatch: pytest.MonkeyPatch, *, optuna: bool) -> None:
    if not optuna:
        monkeypatch.setattr(searching, "_suggestions", lambda: sampled)
    whole = list(search(SPACE, 14, 7, (), judge))
    assert [each.number for each in whole] == list(range(14))
    for killed in (1, 11, 13):
        rest = list(search(SPACE, 14, 7, whole[:killed], judge))
        assert rest == whole[killed:]
    other = list(search(SPACE, 14, 8, (), judge))
    assert other[0].parameters != whole[0].parameters
    for each in whole:
        assert 0.01 <= float(each.parameters["rate"]) <= 1.0
        assert isinstance(each.parameters["nodes"], int)
        assert each.parameters["kind"] in ("a", "b")


def test_without_a_space_there_is_one_trial() -> None:
    assert [each.parameters for each in search({}, 20, 1, (), lambda _: (0.5, 1.0))] == [{}]


def test_the_first_of_the_best_is_taken() -> None:
    def trials(*values: float) -> Sequence[SearchTrial]:
        return [SearchTrial(n, {}, value, 0.0) for n, value in enumerate(values)]

    assert best_of(trials(math.nan, 0.5, 0.7, 0.7)).number == 2
    with pytest.raises(SettingsError, match="no trial could be fitted"):
        best_of(trials(math.nan))
