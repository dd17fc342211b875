"""The standing right of a trainer to propose versions without an operator, and where one is from.

An operator signs a grant. A plan that the grant's key signs is accepted only within its limits. The
control log knows no command with these bodies yet, so no process acts on them.
"""

from typing import Annotated

from pydantic import Field

from stream_scorer.rollout.plan.command_kinds import Sequence
from stream_scorer.rollout.plan.judging_rules import ControllerRules, Rules
from stream_scorer.rollout.plan.strict_parsing import Body, EventTime, Label, Percent, StrictModel

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hex."""


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
