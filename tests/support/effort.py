"""How many random examples a test tries: all of them, or a share in the quick tier."""

import hypothesis

FULL = 100
"""`max_examples` of the profile that runs everything."""


def examples(count: int) -> int:
    """Return the share of ``count`` examples that the loaded hypothesis profile runs, at least 10.

    Args:
        count: How many the profile ``thorough`` runs.
    """
    return max(count * hypothesis.settings().max_examples // FULL, min(count, 10))
