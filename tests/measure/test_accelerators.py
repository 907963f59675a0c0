from __future__ import annotations

import re
from collections import Counter

import pytest

from pytest_llmperf.measure.accelerators import ACCELERATORS, Accelerator, accelerator_named
from tests.places import smi


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (smi.H100["name"], "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
        ("A100-SXM4-40GB", "A100 40GB SXM"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ],
)
def test_an_accelerator_is_known_by_what_its_driver_calls_it(told: str, name: str) -> None:
    found = accelerator_named(told)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "told", ["", "NVIDIA", "NVIDIA H100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 D"]
)
def test_what_only_resembles_one_is_not_known(told: str) -> None:
    assert accelerator_named(told) is None


def test_no_two_share_a_name() -> None:
    names = Counter(name for one in ACCELERATORS for name in (one.name, *one.names) if name != one.name)
    assert max(names.values()) == 1
    assert len({one.name for one in ACCELERATORS}) == len(ACCELERATORS)


@pytest.mark.parametrize("one", ACCELERATORS, ids=lambda one: one.name)
def test_every_figure_has_a_source_and_the_order_of_what_it_is(one: Accelerator) -> None:
    assert one.source
    assert re.fullmatch(r"20\d\d-\d\d", one.date)
    assert 0.2e12 < one.bytes_per_s < 10e12
    assert 50e12 < one.flops_of("float16") < 3e15
    # Half the bits, twice the rate, since there are tensor cores; 32-bit accumulation halves it on some.
    for narrow in ("fp8", "int8"):
        if narrow in one.flops:
            assert one.flops[narrow] / one.flops["float16"] == pytest.approx(2, rel=0.01)


def test_a_format_without_a_unit_is_computed_in_the_next_wider_one() -> None:
    by_name = {one.name: one for one in ACCELERATORS}
    blackwell, hopper = by_name["B200"], by_name["H200 SXM"]
    ampere, turing = by_name["A100 80GB SXM"], by_name["T4"]
    assert blackwell.flops_of("fp4") == 2 * blackwell.flops_of("fp8")
    assert hopper.flops_of("fp4") == hopper.flops["fp8"]
    assert ampere.flops_of("fp8") == ampere.flops["bfloat16"]
    assert turing.flops_of("fp8") == turing.flops_of("bfloat16") == turing.flops["float16"]
