"""Which parts the command line asks for, and how each is made."""

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.access.grpc_interceptor import AccessInterceptor
from stream_scorer.serving.access.opening import ListenAddress, OpenedGate
from stream_scorer.serving.decisions import service as decisions
from stream_scorer.serving.inference import grpc_servicer, rest_routes
from stream_scorer.serving.inference.loading import load_served
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.server.compose import Composition, ServedPart, kept_open
from stream_scorer.serving_settings import UNIX_PEER, Serving
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RequestFailed

if TYPE_CHECKING:
    import grpc.aio


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for.

    Attributes:
        decisions: Which plan judges the transactions of ``/v1/decisions``; None: not served.
        models: Models of ``/v2``, each ``NAME`` or ``NAME:VERSION``; empty: those of the setting
            ``serving.inference.models``.
    """

    decisions: Deployment | None = None
    models: tuple[str, ...] = ()

    def compose(self, settings: Settings, listener: Listener) -> Composition:
        """Return what the server is made of.

        Raises:
            SettingsError: Nothing is asked for, or a part cannot be made from the settings.
            StreamScorerError: A model cannot be loaded; see the tree in ``errors``.
        """
        serves_models = self.models or settings.serving.inference.models
        if self.decisions is None and not serves_models:
            raise SettingsError(
                "nothing to serve", "give --decisions, or --model NAME:VERSION, or both"
            )
        opened = OpenedGate(settings, _listeners(settings.serving), listener)
        try:
            parts = [ServedPart(contexts=(kept_open(opened),))]
            if self.decisions is not None:
                parts.append(_decisions(settings, self.decisions, listener))
            if serves_models:
                parts.append(_inference(settings, self.models, listener))
        except BaseException:
            opened.close()
            raise
        scopes = {
            method: () if scope is None else (scope,)
            for method, scope in grpc_servicer.METHOD_SCOPES.items()
        }
        return Composition(opened.gate, parts, (AccessInterceptor(opened.gate, scopes),))


def _listeners(serving: Serving) -> tuple[ListenAddress, ...]:
    """Return where the servers of the settings listen."""
    host = serving.host if serving.unix_socket is None else UNIX_PEER
    found = [ListenAddress(host, certificates_required=serving.client_ca is not None)]
    if serving.grpc_port is not None:
        required = serving.grpc_client_ca is not None
        found.append(ListenAddress(serving.host, certificates_required=required))
    return tuple(found)


def _decisions(settings: Settings, deployment: Deployment, listener: Listener) -> ServedPart:
    service = decisions.DecisionService(settings, deployment, listener)

    def reasons() -> tuple[str, ...]:
        if service.failure is not None:
            raise service.failure
        return service.reasons()

    return ServedPart(tuple(decisions.routes(service)), (service,), reasons=reasons)


def _inference(settings: Settings, asked: tuple[str, ...], listener: Listener) -> ServedPart:
    models = load_served(settings, asked)
    service = InferenceService(models, settings.serving.inference, listener)

    def failed(error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        listener(RequestFailed("grpc", "", type(error).__name__, trace))

    def add(server: "grpc.aio.Server") -> None:
        server.add_generic_rpc_handlers((grpc_servicer.inference_handler(service, failed),))

    return ServedPart(tuple(rest_routes.routes(service)), (service,), (add,))
