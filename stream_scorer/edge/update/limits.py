"""How large the files of a repository may be."""

from collections.abc import Mapping
from typing import Final

METADATA_BYTES_MOST: Final[Mapping[str, int]] = {
    "root": 64 * 1024,
    "timestamp": 16 * 1024,
    "snapshot": 256 * 1024,
    "targets": 1024 * 1024,
}
"""By role. What is larger is refused by a device, whatever length other metadata name."""
DOCUMENT_BYTES_MOST: Final = 64 * 1024
"""Of ``release.json`` and of a channel."""
FILE_BYTES_MOST: Final = 128 * 1024 * 1024
"""Of a file of a release."""
FILES_MOST: Final = 64
"""Of a release."""
