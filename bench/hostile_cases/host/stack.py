"""The container stack, as its files describe it."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ruamel.yaml import YAML

from bench.hostile_cases.case import Place, cases

_OURS: Final = ("scorer", "monitor", "profiler", "controller", "registry", "topics")
_NO_RESTART: Final = frozenset({"topics"})


def _services(place: Place) -> dict[str, Any]:
    text = (place.root / "compose" / "compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = YAML(typ="safe").load(text)["services"]
    return found


def _each(fault: Callable[[str, dict[str, Any]], str]) -> Callable[[Place], str]:
    """Look at every service; say which are at fault."""

    def run(place: Place) -> str:
        faults = [
            f"{name}: {why}"
            for name, each in _services(place).items()
            if (why := fault(name, each))
        ]
        return "; ".join(faults) or "none at fault"

    return run


def _published(service: dict[str, Any]) -> Iterator[str]:
    for port in service.get("ports", ()):
        yield port if isinstance(port, str) else f"{port.get('host_ip', '')}:{port}"


def _beyond(_: str, service: dict[str, Any]) -> str:
    return ", ".join(port for port in _published(service) if not port.startswith("127.0.0.1:"))


def _virtual_machine(_: str, service: dict[str, Any]) -> str:
    test = " ".join(map(str, service.get("healthcheck", {}).get("test", ())))
    return test if re.search(r"kafka[^ ]*\.sh|java", test) else ""


def _scaled(name: str, service: dict[str, Any]) -> str:
    if name != "scorer":
        return ""
    fixed = [port for port in _published(service) if re.fullmatch(r".*:\d+:\d+", port)]
    return f"fixed ports {fixed}" if fixed or "container_name" in service else ""


def _restarted(name: str, service: dict[str, Any]) -> str:
    restart = str(service.get("restart", "no"))
    if name in _NO_RESTART or restart in {"always", "unless-stopped"}:
        return ""
    return f"restart: {restart}"


def _locked(name: str, service: dict[str, Any]) -> str:
    if name not in _OURS:
        return ""
    safe = service.get("read_only") and service.get("cap_drop") == ["ALL"]
    return "" if safe and service.get("security_opt") else "may write or gain rights"


def _kernels(place: Place) -> str:
    """Look where the image keeps compiled kernels."""
    text = (place.root / "compose" / "Dockerfile").read_text(encoding="utf-8")
    folders = re.findall(r"NUMBA_CACHE_DIR=(\S+)", text)
    kept = bool(folders) and not folders[-1].startswith("/tmp")  # noqa: S108 what is looked for
    return "in the image" if kept else f"{folders}"


def _brokers(place: Place) -> str:
    """Count the brokers, which keep three copies of the transaction log."""
    found = [n for n, each in _services(place).items() if "apache/kafka" in str(each.get("image"))]
    return f"{len(found)} brokers"


CASES: Final = cases(
    "stack", 19,
    ("ports that are published beyond this machine", "published", "none at fault", _each(_beyond)),
    ("a health check that starts a virtual machine", "checks", "none at fault",
     _each(_virtual_machine)),
    ("a scorer that cannot be scaled", "scale", "none at fault", _each(_scaled)),
    ("a service that stays down after a reboot", "reboot", "none at fault", _each(_restarted)),
    ("a service of ours that may write to its root", "locked", "none at fault", _each(_locked)),
    ("kernels that each start compiles in /tmp", "kernels", "in the image", _kernels),
    ("one broker, with one copy of what is committed", "brokers", "3 brokers", _brokers),
)  # fmt: skip
