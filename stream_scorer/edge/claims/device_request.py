"""What a device asks operators to register: the public parts of its keys, as JSON."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from stream_scorer.edge.claims.contract import is_device_name
from stream_scorer.security.canonical_json import canonical, parse

FORMAT: Final = 1
_PUBLIC_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device's request.

    Attributes:
        device: Its name.
        signing_key: Its Ed25519 public key, 32 bytes.
        sealing_key: Its X25519 public key, 32 bytes; empty: state cannot be sealed to it.
    """

    device: str
    signing_key: bytes
    sealing_key: bytes = b""

    def to_json(self) -> bytes:
        """Return the content of ``DEVICE.request.json``."""
        return canonical(
            {
                "format": FORMAT, "device": self.device,
                "signing_key": base64.b64encode(self.signing_key).decode(),
                "sealing_key": base64.b64encode(self.sealing_key).decode(),
            }
        )  # fmt: skip

    @classmethod
    def from_json(cls, data: bytes) -> "DeviceRequest":
        """Read a request.

        Raises:
            ValueError: It is not one; the message says why.
        """
        document = parse(data)
        if document.get("format") != FORMAT:
            raise ValueError(f"is not of format {FORMAT}")
        if set(document) != {"format", "device", "signing_key", "sealing_key"}:
            raise ValueError("has other keys than device, signing_key and sealing_key")
        device = document["device"]
        if not isinstance(device, str) or not is_device_name(device):
            raise ValueError("device: is not a name of 1 to 64 letters, digits, '.', '_' and '-'")
        try:
            signing = base64.b64decode(document["signing_key"], validate=True)
            sealing = base64.b64decode(document["sealing_key"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise ValueError("a key is not base64") from None
        if len(signing) != _PUBLIC_BYTES or len(sealing) not in {0, _PUBLIC_BYTES}:
            raise ValueError(f"a key has not {_PUBLIC_BYTES} bytes")
        return cls(device, signing, sealing)
