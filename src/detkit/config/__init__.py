"""Settings of the verbs: defaults < file < `--set` < flags, held to the bounds beside them."""

from detkit.config.labelling import LabelConfig
from detkit.config.resolve import help_lines, read_toml, resolve, settings_by_key, to_toml
from detkit.config.settings import (
    AUTO_BATCH,
    AUTO_INIT,
    NO_INIT,
    PATHS_OF_SPLITS,
    AugmentConfig,
    DistillConfig,
    LossConfig,
    OptimConfig,
    QatConfig,
    QuantizeConfig,
    RayConfig,
    SearchConfig,
    SupernetConfig,
    TrainConfig,
    check_licence,
)

__all__ = [
    "AUTO_BATCH",
    "AUTO_INIT",
    "NO_INIT",
    "PATHS_OF_SPLITS",
    "AugmentConfig",
    "DistillConfig",
    "LabelConfig",
    "LossConfig",
    "OptimConfig",
    "QatConfig",
    "QuantizeConfig",
    "RayConfig",
    "SearchConfig",
    "SupernetConfig",
    "TrainConfig",
    "check_licence",
    "help_lines",
    "read_toml",
    "resolve",
    "settings_by_key",
    "to_toml",
]
