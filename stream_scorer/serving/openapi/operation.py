"""What the routes do not say of themselves: texts, parameters, bodies and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentedAnswer:
    """An answer that is not a problem.

    Attributes:
        description: When it is given.
        content: JSON schema by content type.
        headers: Names of its further headers.
    """

    description: str
    content: Mapping[str, JsonSchema]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """What a route does.

    Attributes:
        route: Method and pattern, such as ``GET /v2``.
        name: Its ``operationId``.
        summary: A few words.
        answers: By status.
        tag: The group that it is listed in.
        description: Further sentences.
        parameters: JSON schema of each variable part of the path, by name.
        query: JSON schema of each parameter of the query.
        headers: JSON schema of each header that it reads.
        body: JSON schema by content type; empty: no body.
        problems: Names of the problems that its handler raises.
        refusals: Statuses of its handler's refusals in the form of its route.
    """

    route: str
    name: str
    summary: str
    answers: Mapping[int, DocumentedAnswer]
    tag: str
    description: str = ""
    parameters: Mapping[str, JsonSchema] = field(default_factory=dict)
    query: Mapping[str, JsonSchema] = field(default_factory=dict)
    headers: Mapping[str, JsonSchema] = field(default_factory=dict)
    body: Mapping[str, JsonSchema] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    refusals: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Described:
    """The operations of a part of the API, and the schemas that they refer to.

    Attributes:
        operations: The operations.
        schemas: JSON schemas by name in ``#/components/schemas/``.
        tags: What each tag stands for.
    """

    operations: tuple[ApiOperation, ...]
    schemas: Mapping[str, JsonSchema]
    tags: Mapping[str, str]


def schema_ref(name: str) -> dict[str, str]:
    """Return the reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}
