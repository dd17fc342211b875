"""Rows that devices decided: verified before they are decoded, and refused by default."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from stream_scorer.core.decision.decide_batch import CENTRAL_ARM
from stream_scorer.core.events.batch import Outcome, Rejections, RejectReason
from stream_scorer.core.events.given import GivenDecisions
from stream_scorer.edge.claims.headers import claimed, claiming
from stream_scorer.edge.claims.verify import AllowedAtEdge, EdgeClaims, verified
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.ports import Int64, Paused, RawRecords
from stream_scorer.rollout.log.activation import BatchPiece, BatchPlan, DecodedRecords
from stream_scorer.scoring.outputs import PieceDecisions
from stream_scorer.telemetry import EdgeRowsJudged

NOT_ACCEPTED: Final = "not accepted"
"""Detail of every such row with ``scorer.edge = "refuse"``."""


class FollowedRegistry(AllowedAtEdge, Protocol):
    """What operators allow, which changes while a process runs."""

    def follow(self) -> None:
        """Take over what has arrived since the last call.

        Raises:
            UnavailableError: The topic cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class JudgedClaims:
    """The devices' rows of a batch of records.

    Attributes:
        claims: The verified ones; None if there are none.
        refused: The detail of each refused row by its row.
    """

    claims: EdgeClaims | None = None
    refused: Mapping[int, str] = field(default_factory=dict)

    def rejections(self) -> dict[int, tuple[RejectReason, str]]:
        """Return the refused rows, each with its reason and detail."""
        return {row: (RejectReason.EDGE, why) for row, why in self.refused.items()}

    def placed(self, decoded: DecodedRecords) -> DecodedRecords:
        """Return decoded records without those whose transaction the device may not decide."""
        if self.claims is None or not len(self.claims):
            return decoded
        events, rows, other = decoded.events, decoded.rows, decoded.undecodable
        wrong = self.claims.misplaced(events, rows)
        if not wrong:
            return decoded
        kept = np.setdiff1d(np.arange(len(events)), list(wrong))
        told = [
            *zip(other.rows.tolist(), other.reasons, other.details, strict=True),
            *((int(rows[event]), RejectReason.EDGE, why) for event, why in wrong.items()),
        ]
        told.sort(key=lambda each: each[0])
        places, reasons, details = zip(*told, strict=True)
        rejected = Rejections(np.array(places, np.int64), reasons, details)
        return DecodedRecords(events.take(kept), rows[kept], rejected)

    def given(self, cut: BatchPlan, piece: BatchPiece) -> GivenDecisions | None:
        """Return the decisions that came with rows of a piece; None if none did."""
        if self.claims is None or not len(self.claims):
            return None
        records: Int64 = cut.rows if piece.rows is None else cut.rows[piece.rows]
        return self.claims.given.at(records)


NO_CLAIMS: Final = JudgedClaims()


class EdgeJudge:
    """Judges the devices' rows of each batch.

    Args:
        registry: What operators allow; None: every row with a header of a device is refused.
    """

    def __init__(self, registry: FollowedRegistry | None = None) -> None:
        self._registry = registry

    def __call__(self, raw: RawRecords) -> JudgedClaims:
        """Return the devices' rows of a batch of records.

        Raises:
            Paused: The registry of devices cannot be read now: a row is never refused for that.
        """
        named = claiming(raw.headers)
        if not named:
            return NO_CLAIMS
        if self._registry is None:
            return JudgedClaims(None, dict.fromkeys(named, NOT_ACCEPTED))
        rows, malformed = claimed(raw)
        try:
            self._registry.follow()
            claims, refused = verified(rows, self._registry)
        except (UnavailableError, RegistryUnavailableError) as error:
            raise Paused("edge registry", str(error)) from error
        return JudgedClaims(claims, {**malformed, **refused})


def judged_rows(cut: BatchPlan, scored: Sequence[PieceDecisions]) -> EdgeRowsJudged | None:
    """Return what a committed batch's devices' rows were; None if it has none."""
    other = cut.undecodable
    refused = Counter(
        detail.split(":")[0]
        for reason, detail in zip(other.reasons, other.details, strict=True)
        if reason is RejectReason.EDGE
    )
    central = [s for each in scored for s in each.made.shadowed if s.arm == CENTRAL_ARM]
    if not refused and not central:
        return None
    differed: Counter[tuple[str, str]] = Counter()
    for shadow in central:
        told = np.stack([shadow.decided_outcome, shadow.outcome])[:, ~shadow.failed]
        for device, here in told[:, told[0] != told[1]].T.tolist():
            differed[Outcome(device).name, Outcome(here).name] += 1
    return EdgeRowsJudged(
        sum(len(shadow.events) for shadow in central),
        dict(refused),
        dict(differed),
        sum(int(shadow.failed.sum()) for shadow in central),
    )
