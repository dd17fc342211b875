"""Refuses documents that are nested too deeply, before recursive functions process them.

Readers of TOML and JSON, and functions that process their results, call themselves once per level.
A text of a few kilobytes can have thousands of levels.
"""

import re
import tomllib
from typing import Any, Final

LEVELS_MOST: Final = 64
"""Of tables and lists inside each other in a TOML file; no file of ours has more than ten."""
_ERROR_END: Final = 100

# Strings and comments, in which dots have no meaning. Quantifiers are possessive, and an
# unterminated string extends to the end of the text, so that no position is tried twice.
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
        ValueError: Not TOML, or nested deeper than :data:`LEVELS_MOST`; the message is one line.
    """
    # tomllib's time grows with the square of a dotted key's parts: an hour for 1 MiB.
    deep = _LONG_KEY.search(_QUOTED.sub("_", text)) is not None
    try:
        table = {} if deep else tomllib.loads(text)
    except RecursionError:
        deep, table = True, {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {_shortened(str(error))}") from error
    except ValueError as error:
        # Python's own error names a function of Python.
        raise ValueError("not TOML: an integer has more than 4,300 digits") from error
    if deep or deeper_than(LEVELS_MOST, table):
        raise ValueError(f"nested deeper than {LEVELS_MOST} levels")
    return table


def _shortened(text: str) -> str:
    """Return an error of ``tomllib`` without the middle of a long key; its end is the place."""
    most = 2 * _ERROR_END
    return text if len(text) <= most else f"{text[:_ERROR_END]}...{text[-_ERROR_END:]}"


def deeper_than(levels: int, document: Any) -> bool:
    """Return whether the lists and tables of a document are nested deeper than a limit.

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
