"""Mixed precision: which half type passes run in, and the loss scaling that one of them needs."""

from __future__ import annotations

import torch


def half_type(setting: str, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision under `amp`; None where all is computed in float32.

    That is bfloat16, which has the range of float32, where the device has hardware for it. GPUs
    without it (before Ampere) have float16; a CPU without it computes in bfloat16 only when asked.
    """
    if setting == "off":
        return None
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bfloat16 or setting == "on" else None


class LossScaler(torch.amp.GradScaler):
    """Scales the loss so that gradients of float16 passes do not vanish; no other type needs it.

    `half` is the type that passes run in, None where that is float32. A step whose gradients
    overflow is left out, and the scale halved (Micikevicius et al., Mixed Precision Training, arXiv
    1710.03740).
    """

    LEAST = 1.0  # a smaller scale means that the gradients themselves are not finite

    def __init__(self, half: torch.dtype | None, device: torch.device) -> None:
        super().__init__(device.type, enabled=half == torch.float16)
        self.half = half

    def make_step(self, optimizer: torch.optim.Optimizer, clip_norm: float) -> bool:
        """Updates the weights by clipped gradients; False where they are not finite.

        Scaled ones are not where they were not at any scale.
        """
        self.unscale_(optimizer)
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        if not self.is_enabled() and not torch.isfinite(norm):
            return False
        self.step(optimizer)
        self.update()
        return not self.is_enabled() or self.get_scale() >= self.LEAST

    @property
    def memory(self) -> tuple[float, int]:
        """The scale, and the steps since it last changed: what a resumed run goes on with."""
        found = self.state_dict()
        return (found["scale"], found["_growth_tracker"]) if found else (0.0, 0)

    def recall(self, memory: tuple[float, int]) -> None:
        """Goes on with the `memory` of before."""
        if self.is_enabled() and memory[0]:
            scale, steps = memory
            self.load_state_dict({**self.state_dict(), "scale": scale, "_growth_tracker": steps})
