"""Inference over gRPC: what must fail, with a status other than OK."""

from tests.oip.grpc_calls import bare_input, refuse_infer, typed_input
from tests.oip.registry import FIRST, GRPC, cases_of, versioned
from tests.oip.target import FIELDS, OipTarget

case = cases_of("grpc", "core", GRPC)

SECTION = "Inference"
ERRORS = "Errors are indicated by the google.rpc.Status returned for the request."
ORDER = (
    "To use the raw representation 'raw_input_contents' must be initialized with data for each "
    "tensor in the same order as 'inputs'."
)
RAW_SIZE = (
    "For each tensor, the size of this content must match what is expected by the tensor's shape "
    "and data type."
)
TYPED_SIZE = "The size must match what is expected by the tensor's shape."
SENSITIVE = "All strings in all contexts are case-sensitive."
TENSOR = "The input tensors for the inference."


@case("infer.unknown_model", SECTION, ERRORS, "accepts an unknown model")
def unknown_model(target: OipTarget) -> None:
    refuse_infer(target, model_name="no-such-model")


@case("infer.no_model", SECTION, "The name of the model to use for inferencing.",
      "accepts a request without a model")  # fmt: skip
def no_model(target: OipTarget) -> None:
    refuse_infer(target, model_name="")


@case("infer.unknown_version", SECTION, ERRORS, "accepts an unknown version")
def unknown_version(target: OipTarget) -> None:
    versioned(target)
    refuse_infer(target, model_version="no-such-version")


@case("infer.model_case", f"{FIRST}#GRPC", SENSITIVE, "infers for a model in any case")
def model_case(target: OipTarget) -> None:
    refuse_infer(target, model_name=target.model.swapcase())


@case("infer.missing_input", "Model Metadata", "The model's inputs.",
      "accepts that an input is missing")  # fmt: skip
def missing_input(target: OipTarget) -> None:
    refuse_infer(target, inputs=[])


@case("infer.unknown_input", "Model Metadata", "The model's inputs.", "accepts an unknown input")
def unknown_input(target: OipTarget) -> None:
    refuse_infer(target, inputs=[typed_input(target, name="no-such-input")])


@case("infer.unknown_output", SECTION, "The requested output tensors for the inference.",
      "accepts an unknown output")  # fmt: skip
def unknown_output(target: OipTarget) -> None:
    refuse_infer(target, outputs=[{"name": "no-such-output"}])


@case("input.unknown_datatype", SECTION, "The tensor data type.", "accepts an unknown datatype")
def input_unknown_datatype(target: OipTarget) -> None:
    refuse_infer(target, inputs=[typed_input(target, datatype="FP33")])


@case("input.datatype_case", f"{FIRST}#GRPC", SENSITIVE, "accepts a datatype in any case")
def input_datatype_case(target: OipTarget) -> None:
    refuse_infer(target, inputs=[typed_input(target, datatype=target.input.datatype.lower())])


@case("input.negative", SECTION, "The tensor shape.", "accepts a negative dimension")
def input_negative(target: OipTarget) -> None:
    refuse_infer(target, inputs=[typed_input(target, shape=[-1, target.input.width])])


@case("input.too_few", "Tensor Data", TYPED_SIZE, "accepts too few elements")
def input_too_few(target: OipTarget) -> None:
    refuse_infer(target, inputs=[typed_input(target, shape=[2, target.input.width])])


@case("input.too_many", "Tensor Data", TYPED_SIZE, "accepts too many elements")
def input_too_many(target: OipTarget) -> None:
    refuse_infer(target, inputs=[typed_input(target, 2, shape=[1, target.input.width])])


@case("input.no_contents", "Tensor Data", TYPED_SIZE, "accepts an input without contents")
def input_no_contents(target: OipTarget) -> None:
    refuse_infer(target, inputs=[bare_input(target)])


@case("input.other_field", "Tensor Data",
      'An alternative to the "raw" representation is to use InferTensorContents to represent the '
      "tensor data in a format that matches the tensor's data type.",
      "accepts contents in another type's field")  # fmt: skip
def input_other_field(target: OipTarget) -> None:
    own = FIELDS[target.input.datatype]
    other = "int_contents" if own != "int_contents" else "int64_contents"
    contents = {other: [1] * target.input.width}
    refuse_infer(target, inputs=[typed_input(target, contents=contents)])


@case("raw.both", SECTION,
      "If this field is specified then InferInputTensor::contents must not be specified for any "
      "input tensor.", "accepts raw and typed contents")  # fmt: skip
def raw_both(target: OipTarget) -> None:
    refuse_infer(target, raw_input_contents=[target.input.raw(1)])


@case("raw.short", SECTION, RAW_SIZE, "accepts raw contents that are too short")
def raw_short(target: OipTarget) -> None:
    raw = [target.input.raw(1)[:-1]]
    refuse_infer(target, inputs=[bare_input(target)], raw_input_contents=raw)


@case("raw.long", SECTION, RAW_SIZE, "accepts raw contents that are too long")
def raw_long(target: OipTarget) -> None:
    raw = [target.input.raw(2)]
    refuse_infer(target, inputs=[bare_input(target)], raw_input_contents=raw)


@case("raw.more", SECTION, ORDER, "accepts more raw contents than inputs")
def raw_more(target: OipTarget) -> None:
    raw = [target.input.raw(1)] * 2
    refuse_infer(target, inputs=[bare_input(target)], raw_input_contents=raw)


@case("raw.fewer", SECTION, ORDER, "accepts fewer raw contents than inputs")
def raw_fewer(target: OipTarget) -> None:
    inputs = [bare_input(target), bare_input(target, name="another")]
    refuse_infer(target, inputs=inputs, raw_input_contents=[target.input.raw(1)])
