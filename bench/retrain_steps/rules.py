"""The rules of retraining by which drift and null are measured, here and in ``learning``."""

from stream_scorer.nesting import parse_toml
from stream_scorer.performance.warning.watch import WarningBudget
from stream_scorer.retraining.rules.delta import tolerated_cost
from stream_scorer.retraining.rules.rules_file import rules_of

RULES = """
model = "hist_gradient_boosting"
trials = 4
seed = 1
cost_of_retraining = 400.0
horizon_days = 100
[guards]
least_frauds = 60
least_days = 6
cooldown_days = 0.0003
[split]
train_days = 28
validation_days = 1
test_days = 2
[space]
learning_rate = {low = 0.05, high = 0.3, log = true}
max_leaf_nodes = [7, 15, 31]
[rollout]
ramp = [0.0, 50.0]
"""


def budget(decisions: int, most: float) -> WarningBudget:
    """Return the budget of the early warning that the rules give.

    Args:
        decisions: A day.
        most: The largest cost, in units of the currency.
    """
    read = rules_of(parse_toml(RULES))
    tolerance = tolerated_cost(read.cost, read.horizon_days, [decisions]) / most
    return WarningBudget(horizon_days=read.horizon_days, tolerance=tolerance, most=most)
