"""The messages of the gRPC binding, compiled from ``inference.proto`` when first asked for.

They live in a descriptor pool of their own, so that no other stubs of the same protocol in the
process (the package's, or a public client's) conflict with them.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc

HERE = Path(__file__).parent
SERVICE = "inference.GRPCInferenceService"
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)


@cache
def message_types() -> dict[str, Any]:
    """Return the message classes by their names without the package's."""
    with TemporaryDirectory() as folder:
        compiled = Path(folder) / "inference.pb"
        code = protoc.main(
            ["protoc", f"-I{HERE}", f"--descriptor_set_out={compiled}", "inference.proto"]
        )
        if code:
            raise RuntimeError(f"protoc ended with {code}")
        files = FileDescriptorSet.FromString(compiled.read_bytes()).file
    pool = DescriptorPool()
    for file in files:
        pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name for file in files], pool)
    return {name.removeprefix("inference."): kind for name, kind in found.items()}


def new(name: str, /, **fields: Any) -> Any:
    """Make a message.

    Args:
        name: Of its type, for example ``ModelInferRequest``.
        fields: Values by field name, plain Python values where a message is nested.
    """
    return message_types()[name](**fields)
