"""What a process trusts: the keys of signatures, and the types inside a model file.

All of it comes from this program or its settings. A bundle cannot extend it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stream_scorer import settings
from stream_scorer.security.keys import TrustedKey, read_trusted


@dataclass(frozen=True, slots=True)
class GrantedBundle:
    """A bundle of a trainer, which is trusted only as an accepted plan of its grant names it.

    Attributes:
        label: NAME:VERSION.
        key: The trainer's key, which signed the bundle.
        grant: Sequence number of the grant in the control log.
        parent: NAME:VERSION of the champion that it was compared with.
        parent_content: Content hash of that bundle.
        manifest_sha256: Of its ``manifest.json``, in hex.
        gate_sha256: Of its ``gate.json``.
        dataset_sha256: Of the ``dataset.json`` that it was trained on.
        feature_set: Digest of its feature set; see ``Manifest.feature_set``.
    """

    label: str
    key: TrustedKey
    grant: int
    parent: str
    parent_content: str
    manifest_sha256: str
    gate_sha256: str
    dataset_sha256: str
    feature_set: str


@dataclass(frozen=True, slots=True)
class Trust:
    """What may be loaded.

    Attributes:
        types: Types that a skops file may contain in addition to the program's own list.
        keys: The trusted keys, by key id.
        required: Whether a bundle without a signature by one of them is refused.
        granted: By NAME:VERSION, the bundles of trainers whose plans were accepted.
    """

    types: frozenset[str] = frozenset()
    keys: Mapping[str, TrustedKey] = field(default_factory=dict)
    required: bool = False
    granted: Mapping[str, GrantedBundle] = field(default_factory=dict)

    def with_granted(self, granted: Mapping[str, GrantedBundle]) -> "Trust":
        """Return the same trust, with these bundles of trainers."""
        return replace(self, granted=granted)


ANY = Trust()
"""Accepts unsigned bundles, and only the program's own types."""


def trust_of(models: settings.Models) -> Trust:
    """Return what the settings trust; this reads the key files.

    Raises:
        SettingsError: A key cannot be read, or has two names.
    """
    keys = read_trusted(models.trusted_keys, "models.trusted_keys")
    return Trust(frozenset(models.trusted_types), keys, models.require_signature)
