"""Accelerators by their data sheets.

Rates are dense: where a sheet gives only those with sparsity, half of them. They hold at the boost clock of
the sheet, which a GPU may pass for moments and seldom holds for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What is computed in, where the accelerator has no unit for a format.
_WIDENED = {"fp4": "fp8", "fp8": "bfloat16", "int8": "bfloat16", "bfloat16": "float16"}


@dataclass(frozen=True)
class Accelerator:
    """One accelerator: operations per second by format, bytes per second of its memory, and who says so.

    ``names`` are what ``nvidia-smi`` calls it, without ``NVIDIA``.
    """

    name: str
    names: tuple[str, ...]
    flops: Mapping[str, float]
    bytes_per_s: float
    source: str
    date: str

    def flops_of(self, number_format: str) -> float:
        """Operations per second in a format, or in the next wider one that there is."""
        while number_format not in self.flops and number_format in _WIDENED:
            number_format = _WIDENED[number_format]
        return self.flops[number_format]


def _rates(half: float, **others: float) -> dict[str, float]:
    """From TFLOP/s; float16 as fast as bfloat16."""
    return {name: rate * 1e12 for name, rate in {"float16": half, "bfloat16": half, **others}.items()}


_HOPPER_SXM = _rates(989.5, fp8=1979.0, int8=1979.0)
_HOPPER_NVL = _rates(835.5, fp8=1670.5, int8=1670.5)
_AMPERE = _rates(312.0, int8=624.0)
_H100_SHEET = "NVIDIA H100 Tensor Core GPU data sheet"
_H200_SHEET = "NVIDIA H200 Tensor Core GPU data sheet"
_A100_SHEET = "NVIDIA A100 Tensor Core GPU data sheet"

ACCELERATORS = (
    Accelerator("H100 SXM", ("H100 80GB HBM3",), _HOPPER_SXM, 3.35e12, _H100_SHEET, "2024-10"),
    Accelerator(
        "H100 PCIe",
        ("H100 PCIe",),
        _rates(756.5, fp8=1513.0, int8=1513.0),
        2.0e12,
        "NVIDIA H100 Tensor Core GPU data sheet, PCIe",
        "2023-04",
    ),
    Accelerator("H100 NVL", ("H100 NVL",), _HOPPER_NVL, 3.9e12, _H100_SHEET, "2024-10"),
    Accelerator("H200 SXM", ("H200",), _HOPPER_SXM, 4.8e12, _H200_SHEET, "2024-11"),
    Accelerator("H200 NVL", ("H200 NVL",), _HOPPER_NVL, 4.8e12, _H200_SHEET, "2024-11"),
    Accelerator(
        "B200",
        ("B200",),
        _rates(2250.0, fp8=4500.0, int8=4500.0, fp4=9000.0),
        8.0e12,
        "NVIDIA Blackwell architecture data sheet, HGX B200",
        "2024-12",
    ),
    Accelerator(
        "GB200",
        ("GB200",),
        _rates(2500.0, fp8=5000.0, int8=5000.0, fp4=10000.0),
        8.0e12,
        "NVIDIA Blackwell architecture data sheet, GB200",
        "2024-12",
    ),
    Accelerator("A100 40GB SXM", ("A100-SXM4-40GB",), _AMPERE, 1.555e12, _A100_SHEET, "2021-06"),
    Accelerator("A100 40GB PCIe", ("A100-PCIE-40GB",), _AMPERE, 1.555e12, _A100_SHEET, "2021-06"),
    Accelerator("A100 80GB SXM", ("A100-SXM4-80GB",), _AMPERE, 2.039e12, _A100_SHEET, "2021-06"),
    Accelerator("A100 80GB PCIe", ("A100 80GB PCIe",), _AMPERE, 1.935e12, _A100_SHEET, "2021-06"),
    Accelerator(
        "L40S", ("L40S",), _rates(366.5, fp8=733.0, int8=733.0), 864e9, "NVIDIA L40S data sheet", "2023-08"
    ),
    Accelerator(
        "L40", ("L40",), _rates(181.05, fp8=362.0, int8=362.0), 864e9, "NVIDIA L40 data sheet", "2022-10"
    ),
    Accelerator(
        "L4", ("L4",), _rates(121.0, fp8=242.5, int8=242.5), 300e9, "NVIDIA L4 data sheet", "2023-03"
    ),
    Accelerator("A10", ("A10",), _rates(125.0, int8=250.0), 600e9, "NVIDIA A10 data sheet", "2021-04"),
    # The sheet has 70 TFLOP/s, and 140 with sparsity; the A10, a smaller cut of the chip, has 125 without.
    Accelerator("A10G", ("A10G",), _rates(140.0, int8=280.0), 600e9, "NVIDIA A10G data sheet", "2021-11"),
    Accelerator(
        "T4",
        ("Tesla T4", "T4"),
        {"float16": 65e12, "int8": 130e12},
        320e9,
        "NVIDIA T4 product brief",
        "2019-03",
    ),
    Accelerator(
        "RTX 4090",
        ("GeForce RTX 4090",),
        {"float16": 330.3e12, "bfloat16": 165.2e12, "fp8": 660.6e12, "int8": 660.6e12},
        1008e9,
        "NVIDIA Ada GPU architecture white paper",
        "2022-09",
    ),
    Accelerator(
        "RTX 6000 Ada",
        ("RTX 6000 Ada Generation",),
        _rates(364.2, fp8=728.5, int8=728.5),
        960e9,
        "NVIDIA RTX 6000 Ada Generation data sheet",
        "2022-12",
    ),
)
_BY_NAME = {name: one for one in ACCELERATORS for name in one.names}


def accelerator_named(name: str) -> Accelerator | None:
    """The one that ``nvidia-smi`` calls so; None for what is not in the table, a part of one (MIG) among
    them."""
    return _BY_NAME.get(name.removeprefix("NVIDIA "))
