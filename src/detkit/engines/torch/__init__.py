"""torch: a detkit checkpoint, as trained or fused."""

from detkit.engines.engine import Engine

ENGINE = Engine(
    name="torch",
    packages=("torch",),
    module="torch",
    reads=("checkpoint",),
    precisions=("fp32",),
    without=(
        ("fp16", "detkit runs checkpoints in float32"),
        ("int8", "torch computes INT8 in float, which tells nothing of an engine's time"),
    ),
    open="detkit.engines.torch.session:open_session",
    suffix=".safetensors",
)
