"""Writes a skops file again with other members."""

import io
import zipfile
from collections.abc import Callable

SCHEMA = "schema.json"


def with_members(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """Return a skops file whose members, by name, are as ``change`` returns them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def with_schema(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a skops file with another schema."""
    return with_members(data, lambda name, old: change(old) if name == SCHEMA else old)
