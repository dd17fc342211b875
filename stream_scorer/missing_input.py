"""The fix for a group whose next input was deleted: the commands, for the line of an error."""


def past_the_gap(group: str, topic: str, partition: int) -> str:
    """Return how to set one partition's offset to the oldest retained record, and the next step.

    Only that partition's: if all offsets were reset, the other partitions would be decided again.
    """
    return (
        "decide what to do about the gap, then, with every member of the group stopped: "
        f"kafka-consumer-groups.sh --bootstrap-server HOST:PORT --group {group} "
        f"--topic {topic}:{partition} --reset-offsets --to-earliest --execute; "
        "then, for a scorer: stream-scorer state rebuild"
    )
