"""A policy's keys and values; an impossible one is refused in one line that names the key."""

import re

import pytest

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan, parse_plan, plan_from, table_of
from stream_scorer.core.events.policy_table import read_policy

SEGMENT = "[[segment]]\nreview = 0.2\nblock = 0.7\nwhen = "
EXTRAS = {"ip_country": "string", "vpn": "boolean", "basket": "long"}


def test_a_policy_has_the_values_of_its_keys() -> None:
    plan = parse_plan(
        "",
        {
            "policy.toml": 'on_model_error = "BLOCK"\n[default]\nreview = 0.31\nblock = 1\n'
            + SEGMENT
            + '{channel = "ECOM", amount_above = 499.99}\n'
            + SEGMENT
            + '{mcc = ["7995", "4829"], country = "FR", amount_above = 10, amount_below = 20.5}\n'
            + "[budget]\nreviews_per_day = 400\n"
        },
    )
    read = read_policy(plan.policy, plan.exponent)
    assert (read.default, read.on_model_error) == ((0.31, 1.0), Outcome.BLOCK)
    assert read.reviews_per_day == 400
    first, second = read.segments
    assert (first.values, first.above, first.below) == ({"channel": ("ECOM",)}, 49_999, None)
    assert (second.above, second.below, second.limits) == (1_000, 2_050, (0.2, 0.7))
    assert second.values == {"mcc": ("7995", "4829"), "country": ("FR",)}
    assert plan_from(table_of(plan)) == plan


def test_amounts_are_exact_in_any_currency() -> None:
    # 1.1 and 0.07 have no exact float; 1.1 * 100 is 110.00000000000001.
    for exponent, above, minor in ((2, 1.1, 110), (2, 0.07, 7), (0, 500.0, 500), (3, 8.675, 8_675)):
        table = {"segment": [{"when": {"amount_above": above}, "review": 0.1, "block": 0.2}]}
        assert read_policy(table, exponent).segments[0].above == minor


def test_extras_may_be_named_if_they_are_strings_or_booleans() -> None:
    when = {"ip_country": ["RU", "KP"], "vpn": True}
    table = {"segment": [{"when": when, "review": 0.1, "block": 0.2}]}
    (segment,) = read_policy(table, 2, EXTRAS).segments
    assert segment.values == {"ip_country": ("RU", "KP"), "vpn": (True,)}


def test_a_plan_without_a_policy_is_written_as_before() -> None:
    assert "policy" not in table_of(Plan())
    assert table_of(Plan(policy={"budget": {"reviews_per_day": 1}}))["policy"]


def listed(count: int) -> str:
    return "".join(f'{SEGMENT}{{mcc = "{number:04}"}}\n' for number in range(count))


def test_64_segments_fit_and_65_do_not() -> None:
    assert len(read_policy(parse_plan("", {"policy.toml": listed(64)}).policy, 2).segments) == 64
    with pytest.raises(ValueError, match="policy: segment: at most 64, not 65"):
        parse_plan("", {"policy.toml": listed(65)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default =", "policy.toml: not TOML: "),
        ("a = " + "[" * 100_000, "policy.toml: nested deeper than 64 levels"),
        ("[dflt]", "policy: unknown key 'dflt'; known are default, segment, on_model_error"),
        ("revision = 3", "policy: unknown key 'revision'"),
        ('on_timeout = "LATER"', "policy: on_timeout: must be APPROVE, REVIEW, BLOCK"),
        ('on_model_error = "approve"', "policy: on_model_error: must be APPROVE, REVIEW, BLOCK"),
        ("on_model_error = 1", "policy: on_model_error: must be APPROVE, REVIEW, BLOCK, not 1"),
        ("default = 0.5", "policy: default: must be a table, not 0.5"),
        ("[default]\nreview = 0.5", "policy: default: block: is missing; give review and block"),
        ("[default]\nreview = '1'\nblock = 1", "policy: default: review: must be a number, not '"),
        ("[default]\nreview = true\nblock = 1", "policy: default: review: must be a number, not T"),
        ("[default]\nreview = 0\nblock = 1", "policy: default: review: 0 < review <= block <= 1"),
        ("[default]\nreview = 0.9\nblock = 0.8", "policy: default: review: 0 < review <= block"),
        ("[default]\nreview = nan\nblock = 0.8", "policy: default: review: 0 < review <= block"),
        ("[default]\nreview = 0.9\nblock = inf", "policy: default: review: 0 < review <= block"),
        ("[default]\nreview = 0.1\nblock = 1\nx = 1", "policy: default: unknown key 'x'"),
        ("segment = {}", "policy: segment: must be a list of tables: write [[segment]]"),
        ("segment = [1]", "policy: segment 1: must be a table, not 1"),
        ("[[segment]]\nreview = 0.1\nblock = 1", "policy: segment 1: when: is missing"),
        (SEGMENT + "{}", "policy: segment 1: when: must not be empty; what fits no segment is [d"),
        (SEGMENT + "1", "policy: segment 1: when: must be a table, not 1"),
        (SEGMENT + "{mcc = '1'}\nwhy = 1", "policy: segment 1: unknown key 'why'; known are when"),
        (SEGMENT + "{terminal_id = 'x'}", "policy: segment 1: when.terminal_id: unknown field; kn"),
        (SEGMENT + "{customer_id = 'x'}", "policy: segment 1: when.customer_id: unknown field; kn"),
        (SEGMENT + "{basket = 'x'}", "policy: segment 1: when.basket: unknown field"),
        (SEGMENT + "{mcc = 7995}", "policy: segment 1: when.mcc: must be a string or a list of st"),
        (SEGMENT + "{mcc = []}", "policy: segment 1: when.mcc: must name one value at least"),
        (SEGMENT + "{mcc = ['1', '1']}", "policy: segment 1: when.mcc: names a value twice"),
        (SEGMENT + "{mcc = ['1', true]}", "policy: segment 1: when.mcc: must be a string or a lis"),
        (SEGMENT + "{mcc = ''}", "policy: segment 1: when.mcc: a value must have 1 to 256 charact"),
        (SEGMENT + f"{{mcc = '{'9' * 257}'}}", "policy: segment 1: when.mcc: a value must have 1"),
        (SEGMENT + '{mcc = "\\u001b[31m"}', "policy: segment 1: when.mcc: '\\x1b[31m' has char"),
        (
            SEGMENT + "{mcc = [" + ", ".join(f"'{n}'" for n in range(1_001)) + "]}",
            "policy: segment: all together name at most 1000 values",
        ),
        (SEGMENT + "{amount_above = '5'}", "policy: segment 1: when.amount_above: must be an amou"),
        (SEGMENT + "{amount_above = true}", "policy: segment 1: when.amount_above: must be an amo"),
        (SEGMENT + "{amount_above = -1}", "policy: segment 1: when.amount_above: must be between "),
        (SEGMENT + "{amount_above = nan}", "policy: segment 1: when.amount_above: must be between"),
        (SEGMENT + "{amount_above = inf}", "policy: segment 1: when.amount_above: must be between"),
        (SEGMENT + "{amount_above = 1e18}", "policy: segment 1: when.amount_above: must be be"),
        (
            SEGMENT + "{amount_above = 5.001}",
            "policy: segment 1: when.amount_above: 5.001 is not a whole number of minor units",
        ),
        (
            SEGMENT + "{amount_below = 0}",
            "policy: segment 1: when.amount_below: no amount is between 0 and 0",
        ),
        (
            SEGMENT + "{amount_above = 5, amount_below = 5.01}",
            "policy: segment 1: when.amount_below: no amount is between amount_above, 5 and 5.01",
        ),
        (
            SEGMENT + "{channel = 'ECOM'}\n" + SEGMENT + "{channel = 'ECOM', amount_above = 5}",
            "policy: segment 2: when: never counts, because what fits it also fits segment 1",
        ),
        (
            SEGMENT + "{mcc = ['1', '2'], amount_above = 5}\n"
            + SEGMENT + "{mcc = '2', amount_above = 7, amount_below = 9}",
            "policy: segment 2: when: never counts, because what fits it also fits segment 1",
        ),
        (
            "[default]\nreview = 1" + "0" * 400 + "\nblock = 1",
            "policy: default: review: 0 < review <= block <= 1 does not hold for review 1000000000",
        ),
        (
            "[default]\nreview = 0.1\nblock = 1" + "0" * 400,
            "policy: default: review: 0 < review <= block <= 1 does not hold for review 0.1 and b",
        ),
        ("budget = 400", "policy: budget: must be a table, not 400"),
        ("[budget]", "policy: budget: reviews_per_day: is missing"),
        ("[budget]\nreviews_per_day = 0", "policy: budget: reviews_per_day: must be a number a"),
        ("[budget]\nreviews_per_day = nan", "policy: budget: reviews_per_day: must be a number ab"),
        ("[budget]\nreviews_per_hour = 1", "policy: budget: unknown key 'reviews_per_hour'"),
    ],
)  # fmt: skip
def test_a_hostile_policy_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        parse_plan("", {"policy.toml": text})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_policy_that_is_in_two_places_or_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"policy: is in the plan file and in policy\.toml"):
        parse_plan("policy = {}", {"policy.toml": ""})
    with pytest.raises(ValueError, match="policy: must be a table"):
        parse_plan("policy = 1")


def test_segments_that_only_overlap_may_both_count() -> None:
    text = (
        SEGMENT + "{mcc = '1', amount_above = 5}\n" + SEGMENT + "{mcc = ['1', '2']}\n"
        + SEGMENT + "{channel = 'ECOM'}\n" + SEGMENT + "{amount_below = 5}"
    )  # fmt: skip
    assert len(read_policy(parse_plan("", {"policy.toml": text}).policy, 2).segments) == 4


def test_a_segment_may_be_wider_than_an_earlier_one() -> None:
    limits = {"review": 0.2, "block": 0.7}
    below, above = (
        [{"when": {key: amount}, **limits} for amount in amounts]
        for key, amounts in (("amount_below", (100, 500)), ("amount_above", (500, 100)))
    )
    assert [each.below for each in read_policy({"segment": below}, 2).segments] == [10_000, 50_000]
    assert [each.above for each in read_policy({"segment": above}, 2).segments] == [50_000, 10_000]
