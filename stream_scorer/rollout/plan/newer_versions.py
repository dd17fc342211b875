"""What a reader does about a command that a newer version of stream-scorer wrote: stop, or refuse.

What such a command does cannot be known here. If an operator's valid signature makes it count, the
reader stops until it is upgraded. Any other is refused like an invalid one: the reader passes it
over, and the state does not change.
"""

from stream_scorer.errors import RolloutError
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.control_record import Command, CommandSigner
from stream_scorer.rollout.plan.strict_parsing import FORMAT, PLAN_FORMAT


def known_kind(offset: int, command: Command, signer: CommandSigner) -> CommandKind:
    """Return what a command does.

    Args:
        offset: Of its record.
        command: The command.
        signer: Who wrote it.

    Raises:
        RolloutError: Only a newer version knows its kind, and an operator wrote it.
        ValueError: Only a newer version knows its kind, and no operator wrote it.
    """
    try:
        return CommandKind(command.kind)
    except ValueError:
        raise _newer(offset, f"kind {command.kind!r}", signer) from None


def refuse_newer_format(
    offset: int, written: object, kind: CommandKind, signer: CommandSigner
) -> None:
    """Refuse a body in a format that only a newer version knows.

    Args:
        offset: Of its record.
        written: The format that the body names; what is not a number is checked elsewhere.
        kind: What the command does.
        signer: Who wrote it.

    Raises:
        RolloutError: An operator wrote it.
        ValueError: Someone else did.
    """
    newest = PLAN_FORMAT if kind is CommandKind.PLAN else FORMAT
    if type(written) is int and written > newest:
        raise _newer(offset, f"format {written}", signer)


def _newer(offset: int, what: str, signer: CommandSigner) -> RolloutError | ValueError:
    """Return the error for a newer version's command: only an operator's stops the reader."""
    told = f"{what} was written by a newer version of stream-scorer"
    if not signer.operator:
        return ValueError(f"{told}, and not signed by an operator")
    return RolloutError(f"rollout log, offset {offset}: {told}", "upgrade this one")
