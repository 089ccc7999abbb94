"""Instructions of this CPU that INT8 networks are fast with, as the kernel lists them."""

from __future__ import annotations

from pathlib import Path

from detkit.machine.sysfs import ROOT, fields_of

# Flag in /proc/cpuinfo -> what it is called; of x86 in `flags`, of ARM in `Features`.
DOT_PRODUCTS = {
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "amx_int8": "AMX-INT8",
    "asimddp": "ASIMD dot product",
    "i8mm": "I8MM",
}
VECTORS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "asimd": "ASIMD",
    "asimdhp": "ASIMD half precision",
    "sve": "SVE",
    "sve2": "SVE2",
}


def vector_instructions(root: Path = ROOT) -> tuple[str, ...]:
    """Names of the vector instructions that networks are computed with."""
    return _named(root, VECTORS)


def int8_instructions(root: Path = ROOT) -> tuple[str, ...]:
    """Names of the instructions that multiply and add bytes; none where the CPU has none.

    Without one, sums of INT8 are made of 16-bit halves, which saturate on x86, and are slower.
    """
    return _named(root, DOT_PRODUCTS)


def _named(root: Path, names: dict[str, str]) -> tuple[str, ...]:
    fields = fields_of(root / "proc/cpuinfo")
    flags = set((fields.get("flags") or fields.get("Features", "")).split())
    return tuple(name for flag, name in names.items() if flag in flags)
