"""Which streams a fault owns: while it is open, their alarms are its consequences.

A fault of a field owns the streams of the field, of the features and scores that derive from it,
and of the segments that it divides the events into. Segments of the same dimension that are not at
fault keep their streams. A change of the traffic, such as rejected records, owns the shares of the
segments only.
"""

from typing import Final

from stream_scorer.core.summaries.summary_layout import ALL, StreamKey
from stream_scorer.drift.quality.contract import REJECTED, QualityFault
from stream_scorer.drift.quality.reference_view import dimension
from stream_scorer.models.reference.contract import DriftReference

_TRAFFIC: Final = frozenset({"volume", "schema_change"})
_SEGMENT: Final = "segment"


def owned(fault: QualityFault, reference: DriftReference) -> frozenset[StreamKey]:
    """Return the streams that a fault explains.

    Args:
        fault: A fault; whether it is open does not matter.
        reference: Whose streams.
    """
    known = {each.field.name for each in reference.fields}
    rejected = fault.name == "rejects" or fault.segment == REJECTED
    if rejected or fault.field not in known:
        keys = (each.key for each in reference.streams)
        traffic = rejected or fault.name in _TRAFFIC
        return frozenset(key for key in keys if traffic and key.field == _SEGMENT)
    derived = {
        each.field.name
        for each in reference.fields
        if fault.field == each.field.name or fault.field in each.depends_on
    }
    return frozenset(each.key for each in reference.streams if _is_owned(each.key, fault, derived))


def _is_owned(key: StreamKey, fault: QualityFault, derived: set[str]) -> bool:
    if dimension(key.segment) == fault.field:
        return True
    other = fault.segment not in {ALL, key.segment} and dimension(key.segment) == dimension(
        fault.segment
    )
    return key.field in derived and not other
