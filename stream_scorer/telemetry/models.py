"""Events of models: failures, and verifications of deployed bundles."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

_REFUSED = "Degraded: model … would be refused"


@dataclass(frozen=True, slots=True)
class ModelFailed(Event):
    """The model raised; ``on_model_error`` decided the ``rows``."""

    model: str
    version: str
    rows: int
    error: str

    ROWS = Counter(
        "model_error_rows", "Rows decided without the model because it raised.", "model", "version"
    )
    LINE = Line("model_failed", "Not ready: paused: model", "error", per=("model", "version"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ROWS, self.rows, self.model, self.version
        yield self.LINE


@dataclass(frozen=True, slots=True)
class ModelVerified(Event):
    """A deployed bundle's files were compared with the loaded copy.

    Attributes:
        model: Its name.
        version: Its version.
        cause: Why now: ``start``, when it was loaded; ``signal``; ``time``; or
            ``unload``, when no revision names it now and it is no longer watched.
        refusal: Why a start would refuse the files now, though the loaded copy stays in use; empty
            if they are intact.
        content_hash: Of what may change a decision; known when it is loaded.
        signer: Name of the key that signed it; ``unsigned`` without one.
    """

    model: str
    version: str
    cause: str
    refusal: str = ""
    content_hash: str = ""
    signer: str = ""

    INFO = Gauge(
        "model_info",
        "1 for each bundle that is loaded. expected is true if `--model` or the newest revision of "
        "the rollout names its version. Else it is warming, or of an older revision, which may "
        "still decide: false.",
        "model",
        "version",
        "content_hash",
        "signer",
        "expected",
    )
    REFUSED = Gauge(
        "model_refused",
        "1 while the deployed bundle's files are not those that were loaded: a start refuses "
        "them, and the loaded copy stays in use.",
        "model",
        "version",
    )
    VERIFICATIONS = Counter(
        "model_verifications",
        "Times that deployed bundles' files were compared with what was loaded: at the start, "
        "by SIGHUP (signal) or every models.verify_seconds (time); whole or refused.",
        "cause",
        "result",
    )
    REFUSAL = Line(
        "model_refused",
        _REFUSED,
        "error",
        fields=("model", "version", "cause", "detail"),
        per=("model", "version"),
    )
    ASKED = replace(REFUSAL, limited=False)
    VERIFIED = Line(
        "model_verified", _REFUSED, "info", fields=("model", "version", "cause"), limited=False
    )

    def effects(self, history: History) -> Iterable[Effect]:
        """Log a line when the bundle is refused, and when it is intact again or a signal asked."""
        version, refused = (self.model, self.version), bool(self.refusal)
        yield self.REFUSED, refused, *version
        if self.content_hash:
            loaded = (*version, self.content_hash, self.signer)
            (history.loaded.discard if self.cause == "unload" else history.loaded.add)(loaded)
            yield from _information(history, loaded)
        yield self.VERIFICATIONS, 1, self.cause, "refused" if refused else "whole"
        asked = self.cause == "signal"
        if refused:
            yield (self.ASKED if asked else self.REFUSAL).given(detail=self.refusal)
        elif asked or version in history.refused:
            yield self.VERIFIED
        (history.refused.add if refused else history.refused.discard)(version)


@dataclass(frozen=True, slots=True)
class VersionsExpected(Event):
    """The versions that should decide became known, or others were named.

    Attributes:
        versions: NAME:VERSION of each.
    """

    versions: tuple[str, ...]

    def effects(self, history: History) -> Iterable[Effect]:
        history.expected = frozenset(self.versions)
        for loaded in sorted(history.loaded):
            yield from _information(history, loaded)


def _information(history: History, loaded: tuple[str, str, str, str]) -> Iterable[Effect]:
    """Show what is known of a bundle, which is loaded or was."""
    model, version, *_ = loaded
    expected = f"{model}:{version}" in history.expected
    for shown in (True, False):
        value = 1 if loaded in history.loaded and shown == expected else None
        yield ModelVerified.INFO, value, *loaded, str(shown).lower()
