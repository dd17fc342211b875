"""A policy's table as the text of a policy.toml."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def policy_text(policy: Mapping[str, Any], comment: Sequence[str] = ()) -> bytes:
    r"""Return a policy.toml.

    Args:
        policy: A table that ``core.events.policy_table`` accepts.
        comment: Lines at the beginning, without ``#``.

    >>> policy_text({"default": {"review": 0.1, "block": 1}, "on_model_error": "BLOCK"})
    b'on_model_error = "BLOCK"\n\n[default]\nreview = 0.1\nblock = 1\n'
    """
    return ("\n\n".join(_blocks(policy, comment)) + "\n").encode()


def _blocks(policy: Mapping[str, Any], comment: Sequence[str]) -> Iterator[str]:
    top = [f"# {line}" for line in comment]
    top += [_line(key, value) for key, value in policy.items() if not _is_table(value)]
    if top:
        yield "\n".join(top)
    for key in ("default", "segment", "budget"):
        value = policy.get(key, [])
        for table in value if isinstance(value, list) else [value]:
            head = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            yield "\n".join([head, *(_line(name, each) for name, each in table.items())])


def _is_table(value: Any) -> bool:
    return isinstance(value, dict | list)


def _line(key: str, value: Any) -> str:
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_line(key, each) for key, each in value.items()) + "}"
    # Printable texts, numbers, booleans and lists of them are written alike in TOML and JSON.
    return json.dumps(value, ensure_ascii=False)
