"""Finds the route of a method and a path."""

from collections.abc import Iterable, Mapping
from typing import Final

from stream_scorer.serving.web.messages import Route
from stream_scorer.serving.web.problems import Problem

_NO_PARAMETERS: Final[Mapping[str, str]] = {}
_REMEMBERED_MOST: Final = 1_024

Found = tuple[Route, Mapping[str, str]]
"""A route, and the variable parts of a path."""


class Router:
    """Routes by path, then by method.

    A path without variable segments is one look-up. Any other is compared with the patterns that
    have as many segments as it, in the order of the routes. The last 1,024 of those at most are
    remembered, because most requests have the path of an earlier one.

    Args:
        routes: All routes of the server.

    Raises:
        ValueError: Two routes have the same method and pattern, or a pattern is malformed.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._variable: dict[int, dict[tuple[str, ...], dict[str, Route]]] = {}
        self._remembered: dict[tuple[str, str], Found] = {}
        for route in routes:
            by_method = self._methods_of(route.pattern)
            if route.method in by_method:
                raise ValueError(f"two routes {route.method} {route.pattern}")
            by_method[route.method] = route

    def _methods_of(self, pattern: str) -> dict[str, Route]:
        segments = tuple(pattern.split("/"))
        if len(segments) == 1 or segments[0] or "" in segments[1:]:
            raise ValueError(f"pattern {pattern!r}: empty segment")
        names = [each for each in segments if each.startswith("{")]
        if not names:
            return self._fixed.setdefault(pattern, {})
        if any(not (each.endswith("}") and each[1:-1].isidentifier()) for each in names):
            raise ValueError(f"pattern {pattern!r}: not a variable segment")
        # The names of the variables do not matter: two patterns that match the same paths are one.
        alike = tuple("{}" if each.startswith("{") else each for each in segments)
        return self._variable.setdefault(len(segments), {}).setdefault(alike, {})

    def find(self, method: str, path: str) -> Found:
        """Return the route of a request, and the variable parts of its path.

        A HEAD is answered by the route of GET.

        Args:
            method: In upper case.
            path: Percent-decoded; ``paths.check_path`` accepts it.

        Raises:
            Problem: 404, or 405 with the header ``allow``.
        """
        by_method = self._fixed.get(path)
        if by_method is not None:
            return _of_method(by_method, method), _NO_PARAMETERS
        known = self._remembered.get((method, path))
        if known is None:
            known = self._find_variable(method, path)
            if len(self._remembered) >= _REMEMBERED_MOST:
                self._remembered.clear()
            self._remembered[method, path] = known
        return known

    def _find_variable(self, method: str, path: str) -> Found:
        segments = path.split("/")
        for pattern, found in self._variable.get(len(segments), {}).items():
            if all(
                own == given or (own == "{}" and given)
                for own, given in zip(pattern, segments, strict=True)
            ):
                route = _of_method(found, method)
                names = route.pattern.split("/")
                return route, {
                    name[1:-1]: given
                    for name, given in zip(names, segments, strict=True)
                    if name.startswith("{")
                }
        raise Problem(404, "not-found", "There is nothing at this path.")


def _of_method(by_method: Mapping[str, Route], method: str) -> Route:
    route = by_method.get(method)
    if route is None and method == "HEAD":
        route = by_method.get("GET")
    if route is None:
        known = {*by_method, *(["HEAD"] if "GET" in by_method else [])}
        raise Problem(
            405,
            "method-not-allowed",
            "This path does not support the method.",
            headers=(("allow", ", ".join(sorted(known))),),
        )
    return route
