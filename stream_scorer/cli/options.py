"""Options that several commands share: a command takes all of them as one parameter."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import typer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a command that it takes as one parameter; each field is one option.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Paging(Options):
    ...     limit: int = 20
    >>> def show(*, options: Paging) -> None: ...
    >>> inspect.signature(expanded(show)).parameters["limit"].default
    20
    """

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return the options as parameters of a function."""
        return [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY,
                default=field.default, annotation=field.type,
            )
            for field in fields(cls)
        ]  # fmt: skip


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function for the command line: its parameters of :class:`Options` are one by one.

    Args:
        function: A command.
    """
    parameters = inspect.signature(function).parameters.values()
    kinds = {
        each.name: each.annotation
        for each in parameters
        if isinstance(each.annotation, type) and issubclass(each.annotation, Options)
    }
    taken = [each for each in parameters if each.name not in kinds]
    taken += [option for kind in kinds.values() for option in kind.parameters()]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, kind in kinds.items():
            own = {option.name: given.pop(option.name) for option in kind.parameters()}
            given[name] = kind(**own)
        function(**given)

    command.__annotations__ = {each.name: each.annotation for each in taken}
    command.__dict__["__signature__"] = inspect.Signature(taken)
    return command


class CommandGroup(typer.Typer):
    """A group of commands whose parameters may be :class:`Options`."""

    def command(self, *names: Any, **attributes: Any) -> Callable[[Any], Any]:
        """Return a decorator that adds a function as a command; the function stays as it is."""
        add = super().command(*names, **attributes)

        def decorate(function: Callable[..., None]) -> Callable[..., None]:
            add(expanded(function))
            return function

        return decorate
