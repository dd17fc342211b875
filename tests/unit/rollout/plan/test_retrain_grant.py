"""A grant for retraining, its end, and where a version is from: strict, with their limits."""

from typing import Any

import pytest

from stream_scorer.rollout.plan.retrain_grant import Provenance, RetrainGrant, RetrainRevoke
from stream_scorer.rollout.plan.strict_parsing import StrictModel, read

DIGEST = "0123456789abcdef" * 4
GRANT: dict[str, Any] = {
    "key": "A" * 43 + "=", "model": "fraud", "feature_sets": [DIGEST], "share": 50,
    "expires_at": 1_800_000_000_000, "guard": {},
    "controller": {"key": "B" * 43 + "=", "may": ["step", "rollback"]},
}  # fmt: skip
PROVENANCE: dict[str, Any] = {
    "grant": 7, "parent": "fraud:1.0.0",
    **dict.fromkeys(
        ("parent_content", "manifest_sha256", "gate_sha256", "dataset_sha256", "feature_set"),
        DIGEST,
    ),
}  # fmt: skip


def test_a_grant_neither_promotes_nor_hurries_by_default() -> None:
    grant = read(RetrainGrant, GRANT)
    assert (grant.promote, grant.cooldown_seconds, grant.format) == (False, 604_800, 1)
    assert read(RetrainRevoke, {"grant": 7, "reason": "left"}).grant == 7
    assert read(Provenance, PROVENANCE).parent == "fraud:1.0.0"


@pytest.mark.parametrize(
    ("kind", "base", "changed", "message"),
    [
        (RetrainGrant, GRANT, {"speed": 1}, "speed: unknown key"),
        (RetrainGrant, GRANT, {"key": ""}, "key: String should have at least 1 character"),
        (RetrainGrant, GRANT, {"model": "Fraud"}, "model: String should match pattern"),
        (RetrainGrant, GRANT, {"feature_sets": []}, "feature_sets: "),
        (RetrainGrant, GRANT, {"feature_sets": ["x"]}, "feature_sets.0: String should match"),
        (RetrainGrant, GRANT, {"share": 101}, "share: Input should be less than or equal to 100"),
        (RetrainGrant, GRANT, {"expires_at": -1}, "expires_at: Input should be greater than or"),
        (RetrainGrant, GRANT, {"cooldown_seconds": -1}, "cooldown_seconds: Input should be gre"),
        (RetrainGrant, GRANT, {"key": "B" * 43 + "="}, "key: is the controller's: a trainer must"),
        (RetrainGrant, GRANT, {"key": "A"}, "key: is not the base64 of a public key's 32 bytes"),
        (RetrainGrant, GRANT, {"share": 0.001}, "share: 0.001 is not a whole number of hund"),
        (
            RetrainGrant,
            GRANT,
            {"controller": {}},
            "controller.may: has promote, and the grant does",
        ),
        (RetrainRevoke, {}, {"grant": 0}, "grant: Input should be greater than or equal to 1"),
        (Provenance, PROVENANCE, {"parent": "fraud"}, "parent: String should match pattern"),
        (Provenance, PROVENANCE, {"gate_sha256": "00"}, "gate_sha256: String should match"),
    ],
)
def test_other_values_are_refused_by_their_key(
    kind: type[StrictModel], base: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"^.") as refused:
        read(kind, {**base, **changed})
    assert str(refused.value).startswith(message)
