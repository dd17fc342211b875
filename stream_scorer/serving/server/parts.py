"""Which parts the command line asks for, and how each is made."""

from dataclasses import dataclass

from stream_scorer.errors import SettingsError
from stream_scorer.serving.server.compose import Composition, ServedPart
from stream_scorer.serving.web.gate import Gate, RequestHead
from stream_scorer.serving.web.messages import Caller
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for.

    Attributes:
        decisions: Whether ``/v1/decisions`` is served.
        models: Models of ``/v2``, each ``NAME`` or ``NAME:VERSION``.
    """

    decisions: bool = False
    models: tuple[str, ...] = ()

    def compose(self, settings: Settings, listener: Listener) -> Composition:
        """Return what the server is made of.

        Raises:
            SettingsError: Nothing is asked for, or a part cannot be made from the settings.
        """
        del settings, listener
        parts: list[ServedPart] = []
        if self.decisions:
            raise SettingsError("--decisions: this version does not have it", "leave it out")
        if self.models:
            raise SettingsError("--model: this version does not have it", "leave it out")
        if not parts:
            raise SettingsError(
                "nothing to serve", "give --decisions, or --model NAME:VERSION, or both"
            )
        return Composition(_Closed(), parts)


class _Closed(Gate):
    """Admits nobody."""

    def admit(self, head: RequestHead) -> Caller:
        """Refuse every request."""
        del head
        raise Problem(401, "unauthenticated", "The request has no valid credentials.")
