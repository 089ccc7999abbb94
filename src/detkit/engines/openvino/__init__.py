"""OpenVINO: an ONNX file or its own format, on the CPU."""

from detkit.engines.engine import Engine

ENGINE = Engine(
    name="openvino",
    packages=("openvino",),
    module="openvino",
    reads=("openvino", "onnx"),
    precisions=("fp32", "int8"),
    without=(("fp16", "on a CPU it computes in float32, whatever its weights are stored in"),),
    open="detkit.engines.openvino.session:open_session",
    open_graph="detkit.engines.openvino.session:OpenVinoRunner",
    exported_as="openvino",
    suffix=".xml",
    export="detkit.engines.openvino.export:export",
    int8_coverage="detkit.engines.openvino.session:precision_of_convolutions",
    qdq_form="detkit.export.qdq:traced_form",
    int8_engine="openvino",
    concurrent=True,
    measured=("2024.6.0", "2026.4.1"),
    nms_of_int8_onnx=("OpenVINO 2026.4 gives other boxes when it reads an INT8 ONNX file with NMS"),
)
