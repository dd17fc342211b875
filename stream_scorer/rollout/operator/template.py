"""The plan files that ``rollout template`` prints: one for each strategy, with comments."""

from collections.abc import Mapping
from typing import Final

from stream_scorer.rollout.plan.plan_file import Strategy

_HEAD = """\
# {what}
# Change the names, then: stream-scorer rollout start --plan FILE
# A line that begins with "# key =" shows a key that may be left out. All keys: docs/PLANS.md.

name = "{name}"
strategy = "{strategy}"
# reason = "why, for people"
# Event time of the first transaction that it decides; without it, each partition's next offset.
# effective_at = 2026-12-01T00:00:00Z
"""
_SALT = """\
# Assigns customers to buckets; without it, a new random one.
# salt = "try-1"
"""
_CHAMPION = """
[versions]
# Without a champion, the version that decides now.
champion = "fraud:1.0.1"
"""
_OVERRIDES = """
# Transactions with one of these values go to an arm, whatever their bucket.
# [[overrides]]
# field = "currency"
# values = ["USD"]
# arm = "{arm}"
"""
_GUARD = """
# When a candidate is rolled back or promoted: docs/ROLLOUT.md.
[guard]
# Chance of a false rollback, and of a false promotion.
# alpha = 0.01
# A candidate may cost less than this more per transaction.
# delta = 0.05
# Share by which the candidate may differ without harm; by guard.
# tolerance = { alerts = 0.1, errors = 0.0, approved_value = 0.1, slow_calls = 0.1 }
# Age in event time at which the label of a transaction counts: 7 days.
# maturity_seconds = 604800
# Event time after which the verdict is INCONCLUSIVE: 90 days.
# deadline_seconds = 7776000
# Cost of a decision, in the currency of the amounts.
# costs = { most = 200, missed_share = 1, missed_fixed = 0, review = 5, false_block = 25 }
"""
_CONTROLLER = """
# Without this table, only operators move the rollout.
# [controller]
# Its public key: "public_base64" of stream-scorer models keygen --json. Needed with signatures.
# key = "ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ="
# may = ["step", "rollback", "promote"]
# What of that a person approves first.
# manual = ["promote"]
# Percentage of customers up to which it steps without a person.
# up_to = 100.0
"""
_RAMP = """
# percent: the candidate's customers. least_seconds: minimum event time of the stage.
ramp = [
  { percent = 1, least_seconds = 86400 },
  { percent = 5, least_seconds = 86400 },
  { percent = 25, least_seconds = 259200 },
  { percent = 50, least_seconds = 259200 },
  { percent = 100 },
]
"""
_ACTIVE = """\
# The version that decides first, and again after a rollback: blue or green.
active = "blue"

[versions]
blue = "fraud:1.0.1"
green = "fraud:1.1.1"
"""
_SHARED = """
# What all arms share; without it, what is shared now.
# [shared]
# late_decision_ms = 60000
# Thresholds by segment: the path of a policy.toml, relative to this file, or its table. An empty
# table returns to the thresholds of the bundles. docs/PLANS.md has the keys.
# policy = {}
"""
_PARTS: Final[Mapping[Strategy, tuple[str, str, str]]] = {
    Strategy.CHAMPION: ("One version decides every transaction.", "base", _CHAMPION),
    Strategy.SHADOW: (
        "The champion decides; the candidate only scores the same transactions.", "shadow-1.1",
        _SALT + _CHAMPION + 'candidate = "fraud:1.1.1"\n' + _GUARD + _CONTROLLER,
    ),
    Strategy.CANARY: (
        "A candidate decides for more and more customers, next to an equal control group.",
        "try-1.1",
        _SALT + _RAMP + _CHAMPION + 'canary = "fraud:1.1.1"\n' + _OVERRIDES.format(arm="canary")
        + _GUARD + _CONTROLLER,
    ),
    Strategy.BLUE_GREEN: ("One of two versions decides; the other is kept warm.", "green", _ACTIVE),
    Strategy.SPLIT: (
        "Each arm decides for a fixed share of the customers.", "split-1.1",
        _SALT + _CHAMPION + 'candidate = "fraud:1.1.1"\n'
        "\n# Percentage of the customers by arm; they sum to 100.\n[shares]\n"
        "champion = 90\ncandidate = 10\n" + _OVERRIDES.format(arm="candidate"),
    ),
}  # fmt: skip


def template(strategy: Strategy) -> str:
    """Return a rollout plan of a strategy: TOML with comments, and with names to change.

    Args:
        strategy: How versions share the traffic.
    """
    what, name, rest = _PARTS[strategy]
    return _HEAD.format(what=what, name=name, strategy=strategy) + rest + _SHARED
