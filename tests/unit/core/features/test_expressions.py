"""Expressions: their values, their identity, and each refusal in one line."""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features import expressions
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.features.expression_kernels import ROWS, evaluate
from tests.support.core.events import batch, event
from tests.support.core.expression_oracle import value_of
from tests.support.effort import examples

PLAN = Plan(extras={"ratio": "double", "items": "long", "country_of_ip": "string"})
COUNT = {"name": "n", "kind": "count", "window": "1d"}
LATER = {"name": "later", "kind": "count", "window": "1d"}


def value(text: str, **names: float) -> float:
    """Return an expression's value for one row, by the kernel."""
    tree = expressions.parse(text)
    program = expressions.program(tree, list(names), {})
    columns = np.array([[number] for number in names.values()], np.float64).reshape(-1, 1)
    out = np.empty((1, 1))
    stack = np.empty((program.depth, ROWS))
    evaluate(program.steps, program.constants, columns, out, 0, stack)
    return float(out[0, 0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * 2", 13.0), ("(a + b) * 2", 16.0), ("a - b - 1", -3.0), ("a / b", 0.6),
        ("-a + +b", 2.0), ("a < b", 1.0), ("a >= b", 0.0), ("a == 3", 1.0), ("a != 3", 0.0),
        ("log(1)", 0.0), ("abs(a - b)", 2.0), ("min(b, a, 4)", 3.0), ("max(b, a, 4)", 5.0),
        ("coalesce(nan, a)", 3.0), ("coalesce(nan, 0 / 0, 7)", 7.0), ("1e3 + .5 + 1.", 1001.5),
    ],
)  # fmt: skip
def test_each_operation_by_hand(text: str, expected: float) -> None:
    assert value(text, a=3.0, b=5.0, nan=math.nan) == expected


def test_extremes_take_the_first_of_equal_ones() -> None:
    for function in ("min", "max"):
        assert repr(value(f"{function}(a, b)", a=0.0, b=-0.0)) == "0.0"
        assert repr(value(f"{function}(b, a)", a=0.0, b=-0.0)) == "-0.0"


@pytest.mark.parametrize(
    "text",
    [
        "a / 0", "0 / 0", "-a / 0", "log(0)", "log(-a)", "nan + 1", "nan * 0", "nan < 1",
        "nan == 1", "nan != nan", "min(nan, a)", "max(a, nan)", "abs(nan)", "-nan", "log(nan)",
        "1e308 * 10", "-1e308 - 1e308", "coalesce(nan, nan)", "infinite", "infinite > 1",
        "min(infinite, 1)", "a / 5e-324",
    ],
)  # fmt: skip
def test_what_is_not_finite_is_nan_and_always_the_same_one(text: str) -> None:
    found = value(text, a=3.0, nan=-math.nan, infinite=math.inf)
    assert np.float64(found).view(np.int64) == np.float64(np.nan).view(np.int64)


NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e308, 5e-324, 3e-300, 0.1, 7.0, 2.0**53])
LEAVES = st.one_of(st.sampled_from(["a", "b", "c"]), NUMBERS.map(repr))
TEXTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["log", "abs", "-"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max", "coalesce"]), inner, inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]}, {t[3]})"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=examples(300), deadline=None)
@given(text=TEXTS, a=NUMBERS, b=NUMBERS)
def test_any_expression_equals_python_s_own_evaluation(text: str, a: float, b: float) -> None:
    names = {"a": a, "b": b, "c": math.nan}
    assert repr(value(text, **names)) == repr(value_of(text, names))


def test_rows_do_not_depend_on_their_batch() -> None:
    random = np.random.default_rng(5)
    n = 3 * ROWS + 7
    rows = [
        event(at, amount_minor=int(random.integers(0, 9_999)), items=int(random.integers(-3, 9)),
              ratio=float(random.normal()), country_of_ip=None)
        for at in range(n)
    ]  # fmt: skip
    spec = {"name": "f", "kind": "expression", "value": "log(amount) / items - ratio * 0.1"}
    features = compile_features([spec], PLAN)

    def computed(part: list[dict[str, Any]]) -> list[str]:
        found = features.compute(batch(part, PLAN.extras), np.empty((len(part), 0)))
        return [repr(number) for number in found[:, 0].tolist()]

    assert computed(rows) == [text for row in rows for text in computed([row])]


def identity(text: str, *earlier: dict[str, Any], plan: Plan = PLAN) -> str:
    spec = {"name": "f", "kind": "expression", "value": text}
    return compile_features([*earlier, spec], plan).identities[-1]


def test_an_expression_is_what_it_computes_not_how_it_is_written() -> None:
    assert identity("amount/(items)+1.0") == identity(" amount / items  + 1")
    assert identity("-1 * amount") == identity("(-1.0) * (amount)")
    different = ["amount + items", "items + amount", "amount - items", "amount + ratio",
                 "amount + (items + 1)", "amount + items + 1"]  # fmt: skip
    assert len({identity(text) for text in different}) == len(different)
    # A feature's identity is its computation, not its name; a field's identity includes its type.
    other = COUNT | {"name": "m"}
    assert identity("n + amount", COUNT) == identity("m + amount", other)
    assert identity("n", COUNT) != identity("n", COUNT | {"window": "2d"})
    assert identity("items") != identity("items", plan=Plan(extras={"items": "double"}))


def test_an_earlier_feature_hides_a_field_of_its_name() -> None:
    items = {"name": "items", "kind": "count", "window": "1d"}
    assert compile_features([items, {"name": "f", "kind": "expression", "value": "items"}],
                            PLAN).needs[-1].window_ms == 86_400_000  # fmt: skip


def test_an_expression_over_a_terminal_is_computed_again() -> None:
    risk = {"name": "risk", "kind": "risk", "key": "terminal_id", "window": "1d", "delay": "7d"}
    over = {"name": "over", "kind": "expression", "value": "coalesce(risk, 0) + amount"}
    twice = {"name": "twice", "kind": "expression", "value": "over * 2"}
    other = {"name": "other", "kind": "expression", "value": "amount * 2"}
    assert compile_features([risk, over, other, twice], PLAN).recomputed == (1, 3)


def test_expressions_of_expressions_do_not_grow() -> None:
    chain: list[dict[str, Any]] = [{"name": "e0", "kind": "expression", "value": "amount"}]
    for at in range(1, 60):
        before = f"e{at - 1}"
        chain.append({"name": f"e{at}", "kind": "expression",
                      "value": f"({before} + {before}) / max({before}, {before})"})  # fmt: skip
    assert len(set(compile_features(chain, PLAN).identities)) == 60


def test_ratios_of_ratios_are_refused_before_they_grow() -> None:
    chain: list[dict[str, Any]] = [COUNT]
    for at in range(30):
        before = chain[-1]["name"]
        chain.append({"name": f"r{at}", "kind": "ratio", "feature": before, "to": before})
    with pytest.raises(ValueError, match="ratios of ratios name more than 1000 features"):
        compile_features(chain, PLAN)


def test_64_nodes_and_1000_characters_are_accepted() -> None:
    text = " + ".join(["amount"] * 32) + " - -ratio"
    identity("+".join(["amount"] * 32))
    identity("amount" + " " * 994)
    with pytest.raises(ValueError, match="more than 64 nodes"):
        identity(text)


HOSTILE = [
    (None, "value None is not an expression; write it as a text"),
    (3, "value 3 is not an expression"),
    ("", "value '' is not an expression"),
    ("   ", "is not an expression"),
    ("amount +", "is not an expression: "),
    ("amount items", "is not an expression: "),
    ("log(class + 1)", "is not an expression: 'class' is a keyword of Python, so a field"),
    ("from", "is not an expression: 'from' is a keyword of Python"),
    ("amount" + " " * 1_000, "value has 1006 characters; at most 1000"),
    ("(" * 400 + "amount" + ")" * 400, "is not an expression: "),
    ("-" * 990 + "amount", "value has more than 64 nodes"),
    ("+".join(["amount"] * 33), "value has more than 64 nodes"),
    ("log(" * 70 + "amount" + ")" * 70, "value has more than 64 nodes"),
    ("max(" + ",".join(["amount"] * 100) + ")", "value has more than 64 nodes"),
    ("amount.real", "value: '.real' at character 7 cannot be read"),
    ("().__class__", "value: '.__class__' at character 3 cannot be read"),
    ("amount[0]", "value: '[0]' at character 7 cannot be read"),
    ("'amount'", "cannot be read; known are numbers, names"),
    ('f"{amount}"', "cannot be read"),
    ("amount; items", "cannot be read"),
    ("amount\nitems", "cannot be read"),
    ("(x := amount)", "cannot be read"),
    ("lambda: 1", "cannot be read"),
    ("{amount}", "cannot be read"),
    ("amount @ items", "cannot be read"),
    ("amount % 2", "cannot be read"),
    ("~items", "cannot be read"),
    ("\u0430mount", "cannot be read"),
    ("amount\0", "cannot be read"),
    ("0x10", "cannot be read"),
    ("1_000", "cannot be read"),
    ("1j", "cannot be read"),
    ("1if 2 else 3", "cannot be read"),
    ("(amount for amount in items)", "value: GeneratorExp is not known; known: + - * /"),
    ("amount if items else 1", "value: IfExp is not known"),
    ("amount and items", "value: BoolOp is not known"),
    ("not amount", "value: Not is not known"),
    ("amount ** 2", "value: Pow is not known"),
    ("amount // 2", "value: FloorDiv is not known"),
    ("amount in items", "value: In is not known"),
    ("amount is items", "value: Is is not known"),
    ("0 < amount < 9", "value: a comparison has two sides"),
    ("(amount, items)", "value: Tuple is not known"),
    ("max(amount, *items)", "value: Starred is not known"),
    ("abs(amount, items)", "value: abs() takes one argument, not 2"),
    ("max(amount)", "value: max() takes two or more arguments, not 1"),
    ("min()", "value: min() takes two or more arguments, not 0"),
    ("max(amount, key=abs)", "cannot be read"),
    ("exec(amount)", "value: exec() is not known; known: log, abs, min, max, coalesce"),
    ("__import__(amount)", "value: __import__() is not known"),
    ("log(amount)(items)", "value: Call() is not known"),
    ("1(amount)", "value: Constant() is not known"),
    ("True", "value: True is not a number"),
    ("None + 1", "value: None is not a number"),
    ("1e999", "value: a number is too large for 64 bits"),
    ("9" * 400, "value: a number is too large for 64 bits"),
    ("1 + 2", "value names no field and no feature"),
    ("amuont", "value: 'amuont' is not known; fields: amount, event_time, card_present, ratio"),
    ("log", "value: 'log' is not known"),
    ("f + 1", "value: 'f' is at or after it; features before it: n"),
    ("later", "value: 'later' is at or after it"),
    ("country_of_ip", "value: 'country_of_ip' is a text, and expressions compute with numbers"),
    ("mcc + 1", "value: 'mcc' is a text"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_expression_is_refused_in_one_line(text: Any, message: str) -> None:
    specs = [COUNT, {"name": "f", "kind": "expression", "value": text}, LATER]
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        compile_features(specs, PLAN)
    assert str(refused.value).startswith("feature f: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300
