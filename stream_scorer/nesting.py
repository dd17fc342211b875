"""Documents that nest too deep are refused before anything descends into them.

Readers of TOML and JSON, and whatever walks over what they return, call themselves once for each
level. A text of a few kilobytes has thousands of levels.
"""

import re
import tomllib
from typing import Any, Final

LEVELS_MOST: Final = 64
"""Of tables and lists inside each other in a TOML file; no file of ours has more than ten."""

# Strings and comments, in which dots mean nothing. Possessive, and a string that does not end goes
# to the end of the text: no place is tried twice.
_QUOTED: Final = re.compile(
    r'"""(?:[^"\\]|\\.?|"(?!""))*+"{0,5}|'
    r"'''(?:[^']|'(?!''))*+'{0,5}|"
    r'"(?:[^"\\\n]|\\.?)*+"?|'
    r"'[^'\n]*+'?|"
    r"#[^\n]*+",
    re.DOTALL,
)
_LONG_KEY: Final = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{LEVELS_MOST}}}", re.ASCII)


def parse_toml(text: str) -> dict[str, Any]:
    """Return a TOML document.

    Raises:
        ValueError: Not TOML, or nested deeper than :data:`LEVELS_MOST`; says which, in one line.
    """
    # tomllib takes time with the square of the parts of a dotted key: an hour for 1 MiB.
    deep = _LONG_KEY.search(_QUOTED.sub("_", text)) is not None
    try:
        table = {} if deep else tomllib.loads(text)
    except RecursionError:
        deep, table = True, {}
    except ValueError as error:
        raise ValueError(f"not TOML: {error}") from error
    if deep or deeper_than(LEVELS_MOST, table):
        raise ValueError(f"nested deeper than {LEVELS_MOST} levels")
    return table


def deeper_than(levels: int, document: Any) -> bool:
    """Return whether lists and tables in a document are inside each other more often than that.

    Args:
        levels: The limit; a table of plain values has one level.
        document: As a reader of TOML or JSON returns it.
    """
    layer = [document]
    for _ in range(levels + 1):
        layer = [
            below
            for value in layer
            if isinstance(value, dict | list)
            for below in (value.values() if isinstance(value, dict) else value)
        ]
        if not layer:
            return False
    return True
