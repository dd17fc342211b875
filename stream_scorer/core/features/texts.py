"""Texts that explain a feature's value to people: ``"{value} payments in the last hour"``.

A manifest gives a feature a template under the key ``text``. It changes neither feature nor score,
and is not part of a feature's identity.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache

from stream_scorer.core.features.declarations import refusal

TEXT = "text"
"""The key of the template in a feature's table, for every kind."""
LONGEST_TEXT = 200
_KEPT_MOST = 4_096
_PLACEHOLDER = re.compile(r"\{(value|name)\}")
_WHOLE_BELOW = 1e15
_LARGE = 1_000.0


def feature_text(name: str, table: Mapping[str, object]) -> str:
    """Return a feature's template; empty if its table has none.

    Raises:
        ValueError: It is not a printable text of at most 200 characters, or has a brace that is
            not part of ``{value}`` or ``{name}``; the message names the feature.
    """
    text = table.get(TEXT, "")
    if not isinstance(text, str):
        raise refusal(name, f"text must be a string, not {text!r}")
    if len(text) > LONGEST_TEXT:
        raise refusal(name, f"text has at most {LONGEST_TEXT} characters, not {len(text)}")
    if not text.isprintable():
        raise refusal(name, f"text must be printable, not {text!r}")
    if re.search("[{}]", _PLACEHOLDER.sub("", text)):
        raise refusal(
            name, f"text {text!r} has braces other than {{value}} and {{name}}; there are no others"
        )
    return text


def filled(template: str, name: str, value: float) -> str:
    """Return a template with the feature's name and value filled in.

    >>> filled("{value} payments in the last hour", "COUNT_1H", 5.0)
    '5 payments in the last hour'
    """
    return number_text(value).join(_around(template, name))


@lru_cache(_KEPT_MOST)
def _around(template: str, name: str) -> tuple[str, ...]:
    """Return the parts of a template before, between and after its values."""
    parts = [part.replace("{name}", name) for part in template.split("{value}")]
    return tuple(parts)


def number_text(value: float) -> str:
    """Return a feature's value as text for people; NaN is ``unknown``.

    >>> [number_text(each) for each in (5.0, 1234.5, 0.123456, float("nan"), 1e300)]
    ['5', '1234.50', '0.1235', 'unknown', '1e+300']
    """
    if math.isnan(value):
        return "unknown"
    if abs(value) >= _WHOLE_BELOW:
        return f"{value:.4g}"
    if value.is_integer():
        return str(int(value))
    return f"{value:.2f}" if abs(value) >= _LARGE else f"{value:.4g}"
