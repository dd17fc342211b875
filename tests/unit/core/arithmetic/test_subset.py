"""``exponential`` is written in the subset of Python that its docstring states."""

import ast
import inspect

import pytest

from stream_scorer.core.arithmetic import exponential, exponential_table

DOUBLE, INT, CONDITION = "float64", "int64", "condition"
TABLES = {"POWERS", "TAILS"}
INTRINSICS = {"bits_of": (DOUBLE, INT), "double_of": (INT, DOUBLE), "single": (DOUBLE, DOUBLE)}
OF_DOUBLES = (ast.Add, ast.Sub, ast.Mult, ast.Div)
OF_INTS = (ast.Add, ast.Sub, ast.BitAnd, ast.LShift, ast.RShift)
COMPARISONS = (ast.Eq, ast.Lt, ast.Gt)


def refuse(node: ast.AST) -> None:
    raise AssertionError(f"line {getattr(node, 'lineno', 0)}: {ast.unparse(node)}")


def literal(node: ast.AST) -> str:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        refuse(node)
    assert isinstance(node, ast.Constant)
    return DOUBLE if isinstance(node.value, float) else INT


class Reader:
    """Finds the type of each expression, and refuses what the subset does not have."""

    def __init__(self, constants: dict[str, str], functions: set[str]) -> None:
        self.names = dict(constants)
        self.functions = functions

    def kind(self, node: ast.expr) -> str:  # noqa: C901, PLR0911 one case for each form
        match node:
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Constant():
                return literal(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand) if self.kind(operand) == DOUBLE:
                return DOUBLE
            case ast.BinOp(left=left, op=op, right=right):
                kind = self.kind(left)
                allowed = OF_DOUBLES if kind == DOUBLE else OF_INTS
                if self.kind(right) == kind and isinstance(op, allowed):
                    return kind
            case ast.Subscript(value=ast.Name(id=name), slice=index) if name in TABLES:
                if self.kind(index) == INT:
                    return DOUBLE
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                if self.kind(left) == self.kind(right) == DOUBLE and isinstance(op, COMPARISONS):
                    return CONDITION
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self.called(node, name, [self.kind(each) for each in arguments])
        refuse(node)
        raise AssertionError

    def called(self, node: ast.Call, name: str, kinds: list[str]) -> str:
        if name in INTRINSICS and kinds == [INTRINSICS[name][0]]:
            return INTRINSICS[name][1]
        if name == "select" and len(kinds) == 3 and kinds[0] == CONDITION and kinds[1] == kinds[2]:
            return kinds[1]
        if name not in self.functions or kinds != [DOUBLE]:
            refuse(node)
        return DOUBLE


def check(text: str) -> set[str]:
    """Return the names of the functions of the subset; refuse a module that leaves it."""
    constants: dict[str, str] = {}
    functions: set[str] = set()
    for node in ast.parse(text).body:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.ImportFrom():
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in constants:
                constants[name] = literal(value)
            case ast.FunctionDef(name=name) if name.endswith("_all"):
                continue
            case ast.FunctionDef(name=name):
                check_function(node, Reader(constants, functions))
                functions.add(name)
            case _:
                refuse(node)
    return functions


def check_function(node: ast.FunctionDef, reader: Reader) -> None:
    reader.names |= {argument.arg: DOUBLE for argument in node.args.args}
    *assignments, last = node.body[1:]
    for each in assignments:
        if not (isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)):
            refuse(each)
        assert isinstance(each, ast.Assign)
        (target,) = each.targets
        assert isinstance(target, ast.Name)
        if target.id in reader.names:
            refuse(each)
        reader.names[target.id] = reader.kind(each.value)
    if not (isinstance(last, ast.Return) and last.value and reader.kind(last.value) == DOUBLE):
        refuse(last)


def test_the_module_is_within_the_subset() -> None:
    assert check(inspect.getsource(exponential)) == {"exp", "expit", "single_sigmoid"}
    assert {name for name in dir(exponential_table) if name.isupper() and name[0] != "_"} == TABLES


@pytest.mark.parametrize(
    "line",
    [
        "y = x ** 2.0", "y = x % 2.0", "y = x + 1", "x = x + 1.0", "y = exp(x)", "y = abs(x)",
        "y = 1.0 if x > 0.0 else x", "y = select(x, x, x)", "y = select(x != x, x, x)",
        "y = bits_of(x) * 3", "y = POWERS[x]", "y: float = x", "y = select(x == x, x, 1)",
        "for y in (x,): pass", "y = z = x", "y = max(x, 0.0)", "y = 0.0 < x < 1.0",
    ],
)  # fmt: skip
def test_what_the_subset_does_not_have_is_found(line: str) -> None:
    text = f'def f(x):\n    """F."""\n    {line}\n    return x\n'
    with pytest.raises(AssertionError, match="line 3"):
        check(text)
    check(text.replace(line, "y = x * 2.0 + POWERS[bits_of(x) & 127]"))
