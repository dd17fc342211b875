"""The stages of a request for decisions, for its trace: judge, produce, wait."""

from collections.abc import Iterable

from stream_scorer.serving.decisions.correlation import PendingTransaction
from stream_scorer.serving.web.messages import Request


def report_stages(
    request: Request, produced: float, ended: float, pending: Iterable[PendingTransaction | None]
) -> None:
    """Report the stages of a request; does nothing for one that is not traced.

    ``judge`` ends when all records were given to the producer. ``produce`` ends with the last
    acknowledgement of the broker, and ``wait`` with the last decision, or with the time limit.

    Args:
        request: The request.
        produced: When all records were given to the producer, seconds of ``Request.arrived``.
        ended: When all decisions were there, or the time was over.
        pending: The transactions that were pending at ``produced``; None for one that had ended.
    """
    trace = request.trace
    if not trace.recording:
        return
    trace.stage("judge", request.arrived, produced)
    waited = [each.acknowledged or ended for each in pending if each is not None]
    if waited:
        acknowledged = min(max(produced, *waited), ended)
        trace.stage("produce", produced, acknowledged)
        trace.stage("wait", acknowledged, ended)
