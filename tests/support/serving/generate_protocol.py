"""Generate the protobuf modules of the Open Inference Protocol from its definition.

``python -m tests.support.serving.generate_protocol`` writes them next to the definition. They need
a protobuf library at least as new as the one that generates them.
"""

import sys
from pathlib import Path

from stream_scorer.serving import protobuf

FOLDER = Path(protobuf.__file__).parent
DEFINITION = FOLDER / "open_inference_grpc.proto"
SHARED_POOL = "_descriptor_pool.Default()"
OWN_POOL = "_descriptor_pool.DescriptorPool()"
"""Public clients of the protocol define messages of the same names in the shared pool."""
GENERATED = ("open_inference_grpc_pb2.py", "open_inference_grpc_pb2.pyi")


def generate(folder: Path) -> None:
    """Write the modules into a folder."""
    from grpc_tools import protoc  # noqa: PLC0415 only for development

    arguments = [f"-I{FOLDER}", f"--python_out={folder}", f"--pyi_out={folder}", str(DEFINITION)]
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit(f"{DEFINITION} cannot be compiled")
    module = folder / GENERATED[0]
    text = module.read_text()
    if text.count(SHARED_POOL) != 1:
        sys.exit(f"{module}: the generated code has another form")
    module.write_text(text.replace(SHARED_POOL, OWN_POOL))


if __name__ == "__main__":
    generate(FOLDER)
