"""The bench finds all targets equal, and notices one bit that is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.edge_steps import equality
from bench.edge_steps.models import BenchModel, rows_of
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.edge.edge_models import ensembles
from tests.support.edge.native_library import FLAGS, NativeScorer, compiled

pytestmark = pytest.mark.toolchain

BASE = np.random.default_rng(0).normal(size=(50, 4))
CASES = {
    name: BenchModel(ensembles()[name], BASE) for name in ("32-bit masks", "walked sets", "a table")
}


def test_all_targets_are_equal_on_another_c_library_too() -> None:
    found = equality.compare(CASES, quick=True)
    assert found["rows"] >= 60_000
    assert found["equal"] == dict.fromkeys(equality.TARGETS, found["rows"])
    for digests in found["digests"].values():
        assert len(set(digests.values())) == 1
    unfused = equality.without_fused(CASES, quick=True)
    assert unfused.digests == found["digests"]
    assert (unfused.library_differs > 0) is equality.fuses()


@pytest.mark.parametrize("target", equality.TARGETS)
def test_one_bit_of_one_target_is_noticed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = equality.Contenders.results

    def changed(
        self: Any, name: str, tables: bytes, rows: NDArray[np.float64]
    ) -> NDArray[np.void]:  # fmt: skip
        found = results(self, name, tables, rows).copy()
        if name == target:
            found["margin"].view(np.uint64)[7] ^= 1
        return found

    monkeypatch.setattr(equality.Contenders, "results", changed)
    found = equality.compare({"a table": CASES["a table"]}, quick=True)
    fewer = {name: found["rows"] - (name == target) for name in equality.TARGETS}
    assert found["equal"] == fewer


@pytest.mark.skipif(not equality.fuses(), reason="the machine has no fused operations")
def test_a_kernel_with_fused_operations_is_not_equal(tmp_path: Path) -> None:
    case = CASES["32-bit masks"]
    rows = rows_of(case, 200_000)
    want = equality.stream_results(ScoringPredictor(case.model, own_exponential=True), rows)
    flags = tuple(each for each in FLAGS if each != "-ffp-contract=off")
    fused = compiled(tmp_path, flags=(*flags, "-march=haswell", "-ffp-contract=fast"))
    data = equality.image(case)
    assert equality.equal_rows(NativeScorer(compiled(tmp_path), data).results(rows), want) == len(
        rows
    )
    assert 0 < equality.equal_rows(NativeScorer(fused, data).results(rows), want) < len(rows)
