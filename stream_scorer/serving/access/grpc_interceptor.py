"""The gate in front of gRPC services: a call is judged before its message is read."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

import grpc
import grpc.aio

from stream_scorer.serving.access.gate import AccessGate
from stream_scorer.serving.access.grpc_messages import MessageReader
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

    For ``grpc.aio``, each admitted method is one with a stream of requests, which has the same
    form on the wire: the messages of such a method are read by its handler, when it wants them. A
    method with a single request is called after its message has arrived.

    Args:
        gate: Admits callers.
        scopes: By method, as ``/package.Service/Method``: the scopes of which one suffices; empty:
            every caller may call it, without a credential. The message of such a method is not
            read: it is taken to be empty.
        reader: Reads the messages of admitted calls.
    """

    def __init__(
        self,
        gate: AccessGate,
        scopes: Mapping[str, tuple[Scope, ...]],
        reader: MessageReader,
    ) -> None:
        self._gate = gate
        self._scopes = scopes
        self._reader = reader

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
        answer, decode = handler.unary_unary, handler.request_deserializer or bytes
        metadata = handler_call_details.invocation_metadata or ()

        async def unread(_: Any, context: Any) -> Any:
            return await answer(decode(b""), context)

        async def judged(_: Any, context: Any) -> Any:
            try:
                caller = self._gate.admit_grpc(metadata, context.auth_context(), context.peer())
                self._gate.authorise(caller, *scopes)
            except Problem as problem:
                code = _CODES.get(problem.status, grpc.StatusCode.UNAUTHENTICATED)
                await context.abort(code, problem.detail or problem.title, problem.headers)
                raise
            CALLER.set(caller)
            return await self._reader.answered(
                context, caller.client, lambda message: answer(decode(message), context)
            )

        return grpc.stream_unary_rpc_method_handler(
            judged if scopes else unread, response_serializer=handler.response_serializer
        )
