"""Faults of the computation: a record for which it fails, and one for which it never ends."""

from tests.faults.suite.kinds.data import good
from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.poison import poisoned
from tests.support.faults.process import wait_until

_QUARANTINED = "stream_scorer_records_quarantined_total"
_HANG_SECONDS = 3


@kind("process", quick=True)
def quarantined_record(stage: Stage) -> None:
    """Some records always raise in the computation: dead letters; the others are decided."""
    scorer = stage.start("--raises-for-poison")
    for record in map(poisoned, good(3)):
        before = scorer.metric(_QUARANTINED, where="batch") or 0
        stage.feed.insert([record])

        def quarantined(before: float = before) -> bool:
            return (scorer.metric(_QUARANTINED, where="batch") or 0) > before

        wait_until(quarantined, lambda: f"it is quarantined: {stage.said}")
    assert stage.said.count("record_quarantined") == 3, stage.said
    assert any("3 records quarantined" in each for each in scorer.degraded()), scorer.degraded()
    stage.fired(3, "records quarantined, by metric and line")
    stage.fault_over()
    stage.finish()


@kind("process", quick=True)
def hung_computation(stage: Stage) -> None:
    """A batch is computed for ever: the probe reports it, and a log line shows where it hangs."""
    hangs = stage.folder / "hangs"
    scorer = stage.start(
        *("--hangs-while", str(hangs)),
        variables={"STREAM_SCORER_SCORER__HANG_SECONDS": str(_HANG_SECONDS)},
    )
    assert scorer.live()
    hangs.touch()
    wait_until(lambda: not scorer.live(), lambda: f"it is not live: {stage.said}")
    assert any(reason.startswith("hung: ") for reason in scorer.probe()[1])
    assert "computation_hung" in stage.said
    assert "_hang_while" in stage.said or "hang" in stage.said, stage.said
    stage.fired(1, "not live, by probe, and the stack in a line")
    # An orchestrator would do this, too.
    scorer.kill()
    hangs.unlink()
    stage.fault_over()
    stage.scorer()
    stage.finish()
