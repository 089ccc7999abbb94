"""ONNX Runtime: an ONNX file on the CPU, or on CUDA where that build is here."""

from detkit.engines.engine import Engine

ENGINE = Engine(
    name="onnxruntime",
    packages=("onnxruntime", "onnxruntime-gpu"),
    module="onnxruntime",
    reads=("onnx",),
    precisions=("fp32", "int8"),
    without=(("fp16", "its CPU kernels compute in float32"),),
    open="detkit.engines.onnxruntime.session:open_session",
    open_graph="detkit.engines.onnxruntime.session:OnnxRuntimeRunner",
    exported_as="onnx",
    suffix=".onnx",
    export="detkit.engines.onnxruntime.export:export",
    int8_coverage="detkit.engines.onnxruntime.session:precision_of_convolutions",
    qdq_form="detkit.export.qdq:bytes_form",
    int8_engine="onnxruntime",
    concurrent=True,
    measured=("1.18.1", "1.32.0"),
    caveats=(("1.21.1", "its INT8 graphs give other sums than those of all other versions"),),
)
