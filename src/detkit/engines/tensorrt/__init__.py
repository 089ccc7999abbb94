"""TensorRT and TensorRT-RTX: an engine file on an NVIDIA GPU."""

from detkit.engines.engine import Engine

# Activations are symmetric int8, half the levels of a non-negative tensor: twice the noise.
NOISE_SHARE = 4.0

ENGINE = Engine(
    name="tensorrt",
    packages=("tensorrt",),
    module="tensorrt",
    reads=("tensorrt",),
    precisions=("fp32", "fp16", "int8"),
    open="detkit.engines.tensorrt.session:open_session",
    exported_as="tensorrt",
    suffix=".engine",
    export="detkit.engines.tensorrt.export:export",
    build="detkit.engines.tensorrt.export:write_untrained",
    check="detkit.engines.tensorrt.build_machine:check_machine",
    qdq_form="detkit.export.qdq:symmetric_form",
    int8_engine="tensorrt",
    int8_noise_share=NOISE_SHARE,
)

ENGINE_RTX = Engine(
    name="tensorrt-rtx",
    packages=("tensorrt-rtx-cu13",),
    module="tensorrt_rtx",
    reads=("tensorrt-rtx",),
    precisions=("fp32", "fp16", "int8"),
    open="detkit.engines.tensorrt.session:open_session",
    exported_as="tensorrt-rtx",
    suffix=".engine",
    export="detkit.engines.tensorrt.export:export_rtx",
    build="detkit.engines.tensorrt.export:write_untrained",
    check="detkit.engines.tensorrt.build_machine:check_machine",
    int8_engine="tensorrt",
    int8_noise_share=NOISE_SHARE,
)
