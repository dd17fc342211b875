"""The programs that tests of exported models need: ``python -m tests.support.edge.programs``.

On Debian, root gets what is missing by apt-get. Everyone else is told what to install.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "gcc": "gcc", "make": "make", "objdump": "binutils", "clang": "clang", "wasm-ld": "lld",
    "valgrind": "valgrind", "node": "nodejs", "chromium": "chromium",
}  # fmt: skip
"""Debian's package of each program."""
LIBRARIES = {
    "/usr/include/wasm32-wasi/string.h": "wasi-libc",
    "/usr/lib/wasm32-wasi/libc.a": "wasi-libc",
}
"""Debian's package of each file."""


def missing() -> list[str]:
    """Return the packages of what is not installed."""
    programs = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    files = [package for file, package in LIBRARIES.items() if not Path(file).exists()]
    return sorted({*programs, *files})


def main() -> int:
    """Install what is missing, or say so; return the exit code."""
    packages = missing()
    if not packages:
        return 0
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "update"], check=True)  # noqa: S607 Debian's own
        subprocess.run(install, check=True)  # noqa: S603 the same
        return 0
    sys.stderr.write(f"not installed: {', '.join(packages)} — as root: {' '.join(install)}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
