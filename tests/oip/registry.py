"""What a case is, and all cases in the order in which they are registered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.oip.target import OipTarget

Binding = Literal["rest", "grpc"]
Part = Literal["core", "binary"]
Check = Callable[[OipTarget], None]

REST = "open-inference-protocol/specification/protocol/inference_rest.md"
GRPC = "open-inference-protocol/specification/protocol/inference_grpc.md"
BINARY = "triton-inference-server/server/docs/protocol/extension_binary_data.md"
FIRST = "kserve/kserve/docs/predict-api/v2/required_api.md"
"""The proposal from which the specification was made: it says what the latter leaves open."""


class NotConformingError(AssertionError):
    """The server does not do what the specification requires."""


class NotApplicableError(Exception):
    """The case asks for an optional part that the target does not have, such as versions."""


@dataclass(frozen=True, slots=True)
class SpecLine:
    """A line of the specification.

    Attributes:
        file: Repository and path.
        section: Its heading.
        text: Quoted; white space may differ.
    """

    file: str
    section: str
    text: str


@dataclass(frozen=True, slots=True)
class OipCase:
    """One required behaviour.

    Attributes:
        name: Unique, ``BINDING.SUBJECT.WHAT``.
        binding: Over which it is asked.
        part: The protocol itself, or the binary tensor data extension.
        line: What requires it.
        broken: The variant of the reference server that the case must catch.
        check: Raises if the target does not behave so.
    """

    name: str
    binding: Binding
    part: Part
    line: SpecLine
    broken: str
    check: Check


@dataclass(frozen=True, slots=True)
class OipFailure:
    """A case that a target failed.

    Attributes:
        case: The case.
        reason: One line.
    """

    case: OipCase
    reason: str


CASES: dict[str, OipCase] = {}


def cases_of(
    binding: Binding, part: Part, file: str
) -> Callable[[str, str, str, str], Callable[[Check], Check]]:
    """Return a decorator that registers the cases of one file of the specification.

    Args:
        binding: Of each case.
        part: Of each case.
        file: Of each case's line, unless the section begins with ``FIRST``.
    """

    def case(name: str, section: str, text: str, broken: str) -> Callable[[Check], Check]:
        origin, _, heading = section.rpartition("#")
        line = SpecLine(origin or file, heading, text)

        def register(check: Check) -> Check:
            full = f"{binding}.{name}"
            if full in CASES:
                raise ValueError(f"case {full}: registered twice")
            CASES[full] = OipCase(full, binding, part, line, broken, check)
            return check

        return register

    return case


def expect(condition: object, message: str) -> None:
    """Raise if a condition does not hold.

    Args:
        condition: Judged by its truth.
        message: What the server did, with the value.

    Raises:
        NotConformingError: The condition does not hold.
    """
    if not condition:
        raise NotConformingError(message)


def versioned(target: OipTarget) -> str:
    """Return the target's version.

    Raises:
        NotApplicableError: The model has no versions.
    """
    if target.version is None:
        raise NotApplicableError("the model has no versions")
    return target.version


def first_two_outputs(target: OipTarget) -> tuple[str, str]:
    """Return two outputs.

    Raises:
        NotApplicableError: The model has only one.
    """
    if len(target.outputs) < 2:
        raise NotApplicableError("the model has one output")
    return target.outputs[0], target.outputs[1]
