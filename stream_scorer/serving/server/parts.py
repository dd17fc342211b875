"""Which parts the command line asks for, and how each is made."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.access.grpc_interceptor import AccessInterceptor
from stream_scorer.serving.access.grpc_messages import MessageReader
from stream_scorer.serving.access.opening import ListenAddress, OpenedGate
from stream_scorer.serving.decisions import service as decisions
from stream_scorer.serving.decisions.records import record_maker
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.serving.edge import service as edge
from stream_scorer.serving.edge.service import EdgeService
from stream_scorer.serving.inference import grpc_servicer, rest_routes
from stream_scorer.serving.inference.loading import load_served
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.openapi.decision_operations import decision_operations
from stream_scorer.serving.openapi.document import openapi_document
from stream_scorer.serving.openapi.edge_operations import edge_operations
from stream_scorer.serving.openapi.inference_operations import inference_operations
from stream_scorer.serving.openapi.operation import Described
from stream_scorer.serving.openapi.service import OpenApiService
from stream_scorer.serving.server.compose import Composition, ServedPart, kept_open
from stream_scorer.serving.settings.access import UNIX_PEER
from stream_scorer.serving.settings.api import Serving
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RequestFailed

if TYPE_CHECKING:
    import grpc.aio

    from stream_scorer.serving.web.messages import Route


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
        serves_models = self._models(settings)
        reader = MessageReader(settings.serving)
        opened = OpenedGate(settings, _listeners(settings.serving), listener)
        try:
            parts = [ServedPart(contexts=(kept_open(opened),))]
            described: list[Callable[[], Described]] = []
            if self.decisions is not None:
                service = DecisionService(settings, self.decisions, listener, opened.gate.charge)
                parts.append(_decisions(service))
                directory = settings.registry.directory
                described.append(lambda: decision_operations(service.record_form, directory))
            if serves_models:
                parts.append(_inference(settings, self.models, listener, reader))
                described.append(lambda: inference_operations(serves_models))
            if settings.serving.edge.enabled:
                parts.append(_edge(settings, listener))
                described.append(edge_operations)
            parts.append(_openapi(parts, described))
        except BaseException:
            opened.close()
            raise
        scopes = {
            method: () if scope is None else (scope,)
            for method, scope in grpc_servicer.METHOD_SCOPES.items()
        }
        return Composition(opened.gate, parts, (AccessInterceptor(opened.gate, scopes, reader),))

    def document(self, settings: Settings) -> dict[str, Any]:
        """Return the OpenAPI document of such a server, without starting it.

        Raises:
            SettingsError: Nothing is asked for, or the settings do not fit the plan.
            StreamScorerError: The plan, the model or the schema registry cannot be read.
        """
        serves_models = self._models(settings)
        routes: list[Route] = []
        described: list[Described] = []
        if self.decisions is not None:
            form = record_maker(settings, self.decisions).form
            service = DecisionService(settings, self.decisions, lambda _: None)
            routes += decisions.routes(service)
            described.append(decision_operations(form, settings.registry.directory))
        if serves_models:
            models = load_served(settings, self.models)
            inference = InferenceService(models, settings.serving.inference)
            routes += rest_routes.routes(inference)
            described.append(inference_operations(serves_models))
        if settings.serving.edge.enabled:
            routes += edge.routes(EdgeService(settings, lambda _: None), settings)
            described.append(edge_operations())
        routes += OpenApiService(dict).routes()
        return openapi_document(routes, described)

    def _models(self, settings: Settings) -> tuple[str, ...]:
        """Return the models of ``/v2``.

        Raises:
            SettingsError: Nothing is asked for, or gRPC without a model.
        """
        found = self.models or settings.serving.inference.models
        if self.decisions is None and not found and not settings.serving.edge.enabled:
            raise SettingsError(
                "nothing to serve",
                "give --decisions, or --model NAME:VERSION, or set serving.edge.enabled",
            )
        if settings.serving.grpc_port is not None and not found:
            raise SettingsError(
                "serving.grpc_port is set, but gRPC serves only models, and none is asked for",
                "give --model NAME:VERSION, or leave serving.grpc_port empty",
            )
        return found


def _listeners(serving: Serving) -> tuple[ListenAddress, ...]:
    """Return where the servers of the settings listen."""
    host = serving.host if serving.unix_socket is None else UNIX_PEER
    found = [ListenAddress(host, certificates_required=serving.client_ca is not None)]
    if serving.grpc_port is not None:
        required = serving.grpc_client_ca is not None
        found.append(ListenAddress(serving.host, certificates_required=required))
    return tuple(found)


def _openapi(
    parts: Sequence[ServedPart], described: Sequence[Callable[[], Described]]
) -> ServedPart:  # fmt: skip
    """Return the part with the document of the other parts; it starts after them."""
    routes = [route for part in parts for route in part.routes]

    def make() -> dict[str, Any]:
        return openapi_document([*routes, *own], [each() for each in described])

    service = OpenApiService(make)
    own = tuple(service.routes())
    return ServedPart(own, (service,))


def _decisions(service: DecisionService) -> ServedPart:
    def reasons() -> tuple[str, ...]:
        if service.failure is not None:
            raise service.failure
        return service.reasons()

    return ServedPart(tuple(decisions.routes(service)), (service,), reasons=reasons)


def _edge(settings: Settings, listener: Listener) -> ServedPart:
    service = EdgeService(settings, listener)
    return ServedPart(tuple(edge.routes(service, settings)), (service,))


def _inference(
    settings: Settings, asked: tuple[str, ...], listener: Listener, reader: MessageReader
) -> ServedPart:
    models = load_served(settings, asked)
    service = InferenceService(models, settings.serving.inference, listener)

    def failed(error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        listener(RequestFailed("grpc", "", type(error).__name__, trace))

    def add(server: "grpc.aio.Server") -> None:
        handler = grpc_servicer.inference_handler(service, failed, lambda: reader.calls)
        server.add_generic_rpc_handlers((handler,))

    return ServedPart(tuple(rest_routes.routes(service)), (service,), (add,))
