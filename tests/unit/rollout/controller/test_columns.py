"""Amounts in a rollout's evidence are in the base currency."""

from dataclasses import replace

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from tests.support.rollout.rollout_stage import Topics, columns, rollout

DAY = 86_400_000


def with_rate(routing: Routing, revision: int, yen: str) -> Routing:
    """Return a routing whose plan accepts euros and yen."""
    rates = {"base": "EUR", "JPY": {"1970-01-01": yen, "1970-01-05": "1"}}
    shared = Plan(currencies={"EUR": 2, "JPY": 0}, events={"rates": rates})
    return replace(routing, revision=revision, shared=shared)


def test_shadow_scores_cost_in_the_base_currency_of_their_plan() -> None:
    topics = Topics(rollout().routing)
    one = topics.routing.revision
    known = {
        one: topics.routing,
        one + 1: with_rate(topics.routing, one + 1, "1/160"),
        one + 2: with_rate(topics.routing, one + 2, "1/100"),
    }
    rows = [
        (one, "JPY", DAY, 1_000), (one + 1, "JPY", DAY, 1_000), (one + 2, "JPY", DAY, 1_000),
        (one + 1, "EUR", DAY, 777), (one + 1, "JPY", 5 * DAY, 3), (one + 1, "USD", DAY, 5),
        (one + 9, "JPY", DAY, 6),
    ]  # fmt: skip
    for number, (revision, currency, time, amount) in enumerate(rows):
        topics.shadow_score(
            f"t{number}", "c", time, outcome="APPROVE", decided="APPROVE", amount_minor=amount,
            currency=currency, plan_revision=revision,
        )  # fmt: skip
    shadowed, _, unreadable = columns().shadows(topics.raw(), lambda _: known)
    assert unreadable == 0
    # 1,000 yen at 1/160 are 625 cents; an amount in a currency without a rate counts as 0.
    assert shadowed.amount_minor.tolist() == [1_000, 625, 1_000, 777, 300, 0, 6]
