"""The standing right of a trainer to propose versions without an operator, and where one is from.

An operator signs a grant. A plan that the grant's key signs is accepted only within its limits; see
``granted_plans``.
"""

from typing import Annotated, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, field_validator, model_validator

from stream_scorer.rollout.plan.judging_rules import ControllerRules, Rules, public_key_of
from stream_scorer.rollout.plan.strict_parsing import (
    Body,
    Digest,
    EventTime,
    Label,
    Percent,
    Sequence,
    StrictModel,
    whole_buckets,
)
from stream_scorer.security.keys import key_id


class RetrainGrant(Body):
    """What a trainer may propose.

    Attributes:
        key: The trainer's public key, base64 of 32 bytes; no operator's and no controller's.
        model: Name of the model.
        feature_sets: Digests of the feature sets that its versions may have.
        share: Largest percentage of customers that a canary of its plans may reach.
        promote: Whether the controller of its plans may promote.
        expires_at: Broker time, ms since the epoch, from which on its plans are refused.
        cooldown_seconds: Minimum time between two of its plans.
        guard: The rules of judgement that its plans must have.
        controller: The rights of the controller that its plans must have.
    """

    key: Annotated[str, Field(min_length=1, max_length=64)]
    model: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    feature_sets: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=100)]
    share: Percent
    promote: bool = False
    expires_at: EventTime
    cooldown_seconds: Annotated[int, Field(ge=0)] = 604_800
    guard: Rules
    controller: ControllerRules

    @field_validator("key")
    @classmethod
    def _be_a_key(cls, key: str) -> str:
        public_key_of(key)
        return key

    @field_validator("share")
    @classmethod
    def _be_whole_buckets(cls, share: float) -> float:
        return whole_buckets(share)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if "promote" in self.controller.may and not self.promote:
            raise ValueError("controller.may: has promote, and the grant does not: promote = false")
        if self.controller.key and self.controller.key_id == self.key_id:
            raise ValueError("key: is the controller's: a trainer must not move its own rollout")
        return self

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The trainer's key."""
        return public_key_of(self.key)

    @property
    def key_id(self) -> str:
        """The id of the trainer's key."""
        return key_id(self.public_key)


class RetrainRevoke(Body):
    """Ends a grant.

    Attributes:
        grant: Sequence number of the grant in the control log.
    """

    grant: Sequence


class Provenance(StrictModel):
    """Where a version that a trainer proposes is from.

    Attributes:
        grant: Sequence number of the grant in the control log.
        parent: NAME:VERSION of the champion that it was compared with.
        parent_content: Content hash of the champion's bundle.
        manifest_sha256: Of the bundle's ``manifest.json``.
        gate_sha256: Of the bundle's ``gate.json``.
        dataset_sha256: Of the ``dataset.json`` that it was trained on.
        feature_set: Digest of its feature set.
    """

    grant: Sequence
    parent: Label
    parent_content: Digest
    manifest_sha256: Digest
    gate_sha256: Digest
    dataset_sha256: Digest
    feature_set: Digest
