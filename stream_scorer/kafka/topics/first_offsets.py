"""Where a group without committed offsets begins: where its operator says, and nowhere else."""

from stream_scorer.errors import OffsetsError
from stream_scorer.ports import Start


def chosen_start(start: Start | None, group: str, missing: str) -> Start:
    """Return where the group begins.

    Args:
        start: What the operator chose with ``--from``.
        group: The consumer group.
        missing: What has no committed offset, for the error.

    Raises:
        OffsetsError: The operator chose nothing.
    """
    if start is None:
        raise OffsetsError(
            f"group {group} has no committed {missing}",
            "name where its first run begins: --from earliest or --from latest",
        )
    return start
