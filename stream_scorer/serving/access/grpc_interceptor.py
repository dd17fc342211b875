"""The gate in front of gRPC services: a call is judged before its message is decoded."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

import grpc
import grpc.aio

from stream_scorer.serving.access.gate import AccessGate
from stream_scorer.serving.web.messages import Caller, Scope
from stream_scorer.serving.web.problems import Problem

CALLER: Final[ContextVar[Caller]] = ContextVar("caller")
"""The caller of the call that a service method answers."""
_CODES: Final = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Admits callers of gRPC methods; a method that is not named is answered by none.

    Methods with streams are not served: each of their messages would have to be judged.

    Args:
        gate: Admits callers.
        scopes: By method, as ``/package.Service/Method``: the scopes of which one suffices; empty:
            every caller may call it, without a credential.
    """

    def __init__(self, gate: AccessGate, scopes: Mapping[str, tuple[Scope, ...]]) -> None:
        self._gate = gate
        self._scopes = scopes

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[Any]],
        handler_call_details: Any,
    ) -> Any:
        """Return a method's handler behind the gate; None: there is no such method."""
        handler = await continuation(handler_call_details)
        scopes = self._scopes.get(handler_call_details.method)
        if handler is None or handler.unary_unary is None or scopes is None:
            return None
        if not scopes:
            return handler
        answer, decode = handler.unary_unary, handler.request_deserializer

        async def judged(message: bytes, context: Any) -> Any:
            try:
                caller = self._gate.admit_grpc(
                    context.invocation_metadata() or (), context.auth_context(), context.peer()
                )
                self._gate.authorise(caller, *scopes)
            except Problem as problem:
                code = _CODES.get(problem.status, grpc.StatusCode.UNAUTHENTICATED)
                await context.abort(code, problem.detail or problem.title, problem.headers)
                raise
            CALLER.set(caller)
            return await answer(message if decode is None else decode(message), context)

        return grpc.unary_unary_rpc_method_handler(
            judged, response_serializer=handler.response_serializer
        )
