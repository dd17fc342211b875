"""Where a group without committed offsets begins: only where its operator chooses."""

from stream_scorer.errors import OffsetsError
from stream_scorer.ports import Start


def chosen_start(start: Start | None, group: str, missing: str) -> Start:
    """Return where the group begins.

    Args:
        start: The operator's choice with ``--from``.
        group: The consumer group.
        missing: What has no committed offset, for the error message.

    Raises:
        OffsetsError: The operator chose nothing.
    """
    if start is None:
        raise OffsetsError(
            f"group {group} has no committed {missing}",
            "name where its first run begins: --from earliest or --from latest",
        )
    return start
