"""What a process trusts: the keys of signatures, and the types inside a model file.

All of it comes from this program or its settings. A bundle cannot extend it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_scorer import settings
from stream_scorer.security.keys import TrustedKey, read_trusted


@dataclass(frozen=True, slots=True)
class Trust:
    """What may be loaded.

    Attributes:
        types: Types that a skops file may contain in addition to the program's own list.
        keys: The trusted keys, by key id.
        required: Whether a bundle without a signature by one of them is refused.
    """

    types: frozenset[str] = frozenset()
    keys: Mapping[str, TrustedKey] = field(default_factory=dict)
    required: bool = False


ANY = Trust()
"""Accepts unsigned bundles, and only the program's own types."""


def trust_of(models: settings.Models) -> Trust:
    """Return what the settings trust; this reads the key files.

    Raises:
        SettingsError: A key cannot be read, or has two names.
    """
    keys = read_trusted(models.trusted_keys, "models.trusted_keys")
    return Trust(frozenset(models.trusted_types), keys, models.require_signature)
