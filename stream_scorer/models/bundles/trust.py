"""What a process trusts: whose signatures, and which types inside a model file.

All of it is this program's or the settings'. Nothing in a bundle can widen it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_scorer import settings
from stream_scorer.security.keys import TrustedKey, read_trusted


@dataclass(frozen=True, slots=True)
class Trust:
    """What may be loaded.

    Attributes:
        types: Types that a skops file may hold beside the program's own list.
        keys: Whose signatures count, by key id.
        required: Whether a bundle without such a signature is refused.
    """

    types: frozenset[str] = frozenset()
    keys: Mapping[str, TrustedKey] = field(default_factory=dict)
    required: bool = False


ANY = Trust()
"""Unsigned bundles too; only the program's own types."""


def trust_of(models: settings.Models) -> Trust:
    """Return what the settings trust; reads the key files.

    Raises:
        SettingsError: A key cannot be read, or stands there under two names.
    """
    keys = read_trusted(models.trusted_keys, "models.trusted_keys")
    return Trust(frozenset(models.trusted_types), keys, models.require_signature)
