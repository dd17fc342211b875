"""The way on for a group whose next input is gone: the commands, as an error's line names them."""


def past_the_gap(group: str, topic: str, partition: int) -> str:
    """Return what sets one partition's offset to the oldest retained record, and what comes then.

    Only that partition: set back with it, the others would be decided again.
    """
    return (
        "decide what to do about the gap, then, with every member of the group stopped: "
        f"kafka-consumer-groups.sh --bootstrap-server HOST:PORT --group {group} "
        f"--topic {topic}:{partition} --reset-offsets --to-earliest --execute; "
        "then, for a scorer: stream-scorer state rebuild"
    )
