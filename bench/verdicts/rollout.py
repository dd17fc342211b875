"""Reports on candidates of simulated rollouts, and judges the report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.harness.script import missed
from stream_scorer.rollout.evidence.guardrail import Verdict

FALSE = {
    "false_rollbacks": "aa_runs",
    "false_mismatches": "aa_runs",
    "false_promotions": "bad_runs",
    "false_promotions_in_shadow": "bad_runs",
    "promotions_at_delta": "bad_runs",
    "promotions_at_delta_in_shadow": "bad_runs",
    "rollbacks_of_equal": "aa_runs",
}
"""Events that must be rare, and the events among which they are counted."""
MOST_FALSE = 0.01
LEAST_PROMOTED = 0.5
MOST_EVENTS = 100_000


def report(
    runs: Sequence[Mapping[str, Any]], louder: Sequence[Mapping[str, Any]], delta: float
) -> dict[str, Any]:
    """Return the report.

    Args:
        runs: Results of the champion itself and of costlier candidates, by city.
        louder: Results of candidates that alert twice as often.
        delta: How much more candidates may cost, in units of the currency per transaction.
    """

    def count(name: str, verdict: Verdict) -> int:
        return sum(one[name] == verdict for one in runs)

    def mean(name: str) -> float:
        return float(np.mean([one[name] for one in runs]))

    # A candidate without a rollback took more events than any reported quantile.
    events = [one["events"] if one["verdict"] == Verdict.ROLL_BACK else math.inf for one in louder]
    shadows = [one["shadow"] for one in louder]
    return {
        "aa_runs": len(runs),
        "false_rollbacks": count("same", Verdict.ROLL_BACK),
        "false_mismatches": count("same", Verdict.INVALID),
        "z_test_false_rollbacks": sum(one["z_test"] for one in runs),
        "bad_runs": len(runs),
        "false_promotions": count("worse_by_2_delta_canary", Verdict.PROMOTE),
        "false_promotions_in_shadow": count("worse_by_2_delta_shadow", Verdict.PROMOTE),
        "promotions_at_delta": count("worse_by_delta_canary", Verdict.PROMOTE),
        "promotions_at_delta_in_shadow": count("worse_by_delta_shadow", Verdict.PROMOTE),
        "rollbacks_of_bad": count("worse_by_2_delta_canary", Verdict.ROLL_BACK),
        "rollbacks_of_bad_in_shadow": count("worse_by_2_delta_shadow", Verdict.ROLL_BACK),
        "promotions_of_equal": count("equal_canary", Verdict.PROMOTE),
        "promotions_of_equal_in_shadow": count("equal_shadow", Verdict.PROMOTE),
        "rollbacks_of_equal": count("equal_canary", Verdict.ROLL_BACK),
        "doubled_runs": len(louder),
        "doubled_detected": sum(map(math.isfinite, events)),
        "doubled_alert_rate_detected_after_events": _quantile(events, 0.5),
        "doubled_alert_rate_nine_of_ten_after_events": _quantile(events, 0.9),
        "doubled_alert_rate_in_shadow_after_events": _quantile(shadows, 0.5),
        "doubled_alert_rate_in_shadow_nine_of_ten_after_events": _quantile(shadows, 0.9),
        "doubled_ratio": round(float(np.mean([one["ratio"] for one in louder])), 3),
        "decisions_per_run": round(mean("decisions")),
        "alert_rate": round(mean("alert_rate"), 4),
        "cost": round(mean("cost"), 3),
        "cost_of_approving_all": round(mean("cost_of_nothing"), 3),
        "delta": delta,
        "bad_by": round(mean("worse_by_2_delta_by"), 3),
    }


def _quantile(events: Sequence[float], share: float) -> int | None:
    """Return after how many events so large a share was found; None if it was not."""
    found = float(np.quantile(events, share, method="higher"))
    return int(found) if math.isfinite(found) else None


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each promise that a report does not keep."""
    runs = document["aa_runs"]
    return missed(
        *(
            (f"{name} is {{}} of {document[of]}", document[name], "<=", MOST_FALSE * document[of])
            for name, of in FALSE.items()
        ),
        *(
            (f"{name} is {{}} of {runs}", document[name], ">=", LEAST_PROMOTED * runs)
            for name in ("promotions_of_equal", "promotions_of_equal_in_shadow")
        ),
        (
            "nine of ten doubled alert rates are found after {} events of the canary",
            document["doubled_alert_rate_nine_of_ten_after_events"], "<=", MOST_EVENTS,
        ),
    )  # fmt: skip
