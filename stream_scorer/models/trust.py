"""What a process trusts: whose signatures, and which types inside a model file.

All of it is this program's or the settings'. Nothing in a bundle can widen it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stream_scorer import settings
from stream_scorer.errors import SettingsError
from stream_scorer.models.keys import key_id, read_public


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and whose it is."""

    name: str
    key: Ed25519PublicKey


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
    keys: dict[str, TrustedKey] = {}
    for name, value in models.trusted_keys.items():
        what = f"setting models.trusted_keys.{name}"
        key = read_public(value, what)
        other = keys.setdefault(key_id(key), TrustedKey(name, key))
        if other.name != name:
            raise SettingsError(f"{what}: is the key of {other.name}, too", "name each key once")
    return Trust(frozenset(models.trusted_types), keys, models.require_signature)
