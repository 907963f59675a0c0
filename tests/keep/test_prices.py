from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.prices import Price, Prices

OURS = """
[[price]]
accelerator = "H100"
usd_per_hour = 2.1
source = "our contract"
date = 2026-10-01

[[price]]
accelerator = "H100 PCIe"
usd_per_hour = 1.5
source = "our contract, annex"
date = "2026-09-01"

[[price]]
accelerator = "H100 MIG 1g.10gb"
usd_per_hour = 0.4
source = "our contract"
date = 2026-10-01
"""


def written(path: Path, text: str = OURS) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def there(accelerators: str) -> dict[str, str]:
    return {"place": "local process", "accelerators": accelerators}


@pytest.mark.parametrize(
    ("accelerators", "usd"),
    [
        ("NVIDIA H100 80GB HBM3", 3.95),
        ("8 × NVIDIA H100 80GB HBM3", 31.6),
        ("NVIDIA A100-SXM4-80GB", 2.5),
        ("NVIDIA A100 80GB PCIe", 2.5),
        ("Tesla T4", 0.59),
        ("NVIDIA L4", 0.8),
        ("2 × NVIDIA L40S", 3.9),
        ("NVIDIA L4, NVIDIA L40S", 2.75),
    ],
)
def test_the_package_has_prices_of_common_gpus(accelerators: str, usd: float) -> None:
    price = Prices.read().of(there(accelerators))
    assert price is not None
    assert price.usd_per_hour == pytest.approx(usd)
    assert price.source == "Modal's list price, from secondary sources"
    assert price.date == "2026-07-01"


@pytest.mark.parametrize(
    "accelerators",
    [
        "NVIDIA A100-SXM4-40GB",
        "NVIDIA L40",
        "NVIDIA GH200 480GB",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA L4, NVIDIA L40",
    ],
)
def test_what_is_not_in_the_table_has_no_price(accelerators: str) -> None:
    assert Prices.read().of(there(accelerators)) is None


def test_a_cpu_and_a_server_at_a_url_have_no_price() -> None:
    assert Prices.read().of({"place": "local process", "cpu": "x"}) is None
    assert Prices.read().of({}) is None


def test_a_file_takes_the_place_of_the_table(tmp_path: Path) -> None:
    prices = Prices.read(written(tmp_path / "prices.toml"))
    assert prices.of(there("NVIDIA H100 80GB HBM3")) == Price(2.1, "our contract", "2026-10-01")
    assert prices.of(there("NVIDIA L4")) is None


def test_the_entry_with_most_of_the_name_is_meant(tmp_path: Path) -> None:
    prices = Prices.read(written(tmp_path / "prices.toml"))
    assert prices.of(there("NVIDIA H100 PCIe")) == Price(1.5, "our contract, annex", "2026-09-01")
    part = prices.of(there("2 × NVIDIA H100 80GB HBM3 MIG 1g.10gb"))
    assert part == Price(0.8, "our contract", "2026-10-01")
    assert prices.of(there("NVIDIA H100 80GB HBM3 MIG 2g.20gb")) is None


def test_prices_of_several_are_as_old_as_the_oldest(tmp_path: Path) -> None:
    price = Prices.read(written(tmp_path / "prices.toml")).of(there("NVIDIA H100 NVL, 2 × NVIDIA H100 PCIe"))
    assert price is not None
    assert price.usd_per_hour == pytest.approx(5.1)
    assert (price.source, price.date) == ("our contract; our contract, annex", "2026-09-01")


TWO = "".join(
    f'[[price]]\naccelerator = "{name}"\nusd_per_hour = {usd}\nsource = "us"\ndate = 2026-10-01\n'
    for name, usd in (("H100 PCIe", 2), ("80GB PCIe", 9), ("H100 NVL", 3))
)


def test_of_two_that_may_be_meant_none_is_taken_silently(tmp_path: Path) -> None:
    """Wherever the name has as many words of both, be it one GPU of several."""
    prices = Prices.read(written(tmp_path / "prices.toml", TWO))
    message = (
        r'prices\.toml: "H100 PCIe" and "80GB PCIe" are alike prices of NVIDIA H100 80GB PCIe; '
        "give one with more words of that name"
    )
    for accelerators in ("NVIDIA H100 80GB PCIe", "NVIDIA H100 NVL, 2 × NVIDIA H100 80GB PCIe"):
        with pytest.raises(StoreError, match=message):
            prices.of(there(accelerators))
    for accelerators, usd in (("NVIDIA A100 80GB PCIe", 9), ("NVIDIA H100 PCIe", 2), ("NVIDIA H100 NVL", 3)):
        price = prices.of(there(accelerators))
        assert price is not None
        assert price.usd_per_hour == usd


def test_one_with_more_words_decides_between_two(tmp_path: Path) -> None:
    closest = ENTRY.replace("H100", "PCIe 80gb H100").replace("2.1", "4")
    for text in (TWO + closest, closest + TWO):
        price = Prices.read(written(tmp_path / "prices.toml", text)).of(there("NVIDIA H100 80GB PCIe"))
        assert price is not None
        assert price.usd_per_hour == 4


ENTRY = '[[price]]\naccelerator = "H100"\nusd_per_hour = 2.1\nsource = "us"\ndate = 2026-10-01\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price = [", "is not TOML (*"),
        ("", "has no prices, or something else beside them; expected [[][[]price]] entries with *"),
        ("price = 3", "has no prices, or something else beside them; *"),
        ("price = []", "has no prices, or something else beside them; *"),
        (f"prices = 1\n{ENTRY}", "has no prices, or something else beside them; *"),
        ("price = [1]", "price 1: expected [[][[]price]] entries with *"),
        ('[[price]]\naccelerator = "H100"', "price 1 (H100): usd_per_hour, source, date missing; expected *"),
        (f'{ENTRY}currency = "EUR"', "price 1 (H100): currency not known; valid: accelerator, *"),
        (
            ENTRY.replace("2.1", "0"),
            "price 1 (H100): usd_per_hour = 0: expected dollars per hour of one GPU, *",
        ),
        (ENTRY.replace("2.1", "-1"), "price 1 (H100): usd_per_hour = -1: *"),
        (ENTRY.replace("2.1", "inf"), "price 1 (H100): usd_per_hour = inf: *"),
        (ENTRY.replace("2.1", "nan"), "price 1 (H100): usd_per_hour = nan: *"),
        (ENTRY.replace("2.1", "true"), "price 1 (H100): usd_per_hour = True: *"),
        (ENTRY.replace("2.1", '"2.1"'), "price 1 (H100): usd_per_hour = '2.1': *"),
        (
            ENTRY.replace('"H100"', '" "'),
            "price 1 ( ): accelerator: expected words of the name that nvidia-smi *",
        ),
        (ENTRY.replace('"H100"', "3"), "price 1: accelerator: expected words *"),
        (ENTRY.replace('"us"', '""'), "price 1 (H100): source: expected who says so"),
        (
            ENTRY.replace("2026-10-01", '"October"'),
            "price 1 (H100): date = 'October': expected a day, as in *",
        ),
        (ENTRY.replace("2026-10-01", "7"), "price 1 (H100): date = 7: expected a day, as in *"),
        (f"{ENTRY}\n{ENTRY}", "price 2 (H100): a second price of the same accelerator"),
        (ENTRY + ENTRY.replace("H100", "h100"), "price 2 (h100): a second price of the same accelerator"),
    ],
)
def test_an_error_names_the_file_the_entry_and_the_way_out(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "prices.toml", text)
    with pytest.raises(StoreError) as caught:
        Prices.read(path)
    told = str(caught.value)
    assert fnmatch.fnmatchcase(told, f"{path} {message}") or fnmatch.fnmatchcase(told, f"{path}, {message}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.toml cannot be read: No such file or directory"):
        Prices.read(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'x = "\xe4"')
    with pytest.raises(StoreError, match=r"latin\.toml is not TOML"):
        Prices.read(tmp_path / "latin.toml")
