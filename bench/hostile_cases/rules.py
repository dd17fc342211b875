"""The documented rules that the cases hold the product to, by the page that states them.

Each is the heading of a section of docs/SECURITY.md and a part of its text, word for word; the
bench refuses to run where the page does not say it.
"""

from typing import Final

RULES: Final[dict[str, tuple[str, str]]] = {}
