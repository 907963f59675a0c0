from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import pytest_llmperf.load.account as account_module
from pytest_llmperf.load.account import Account, Meter
from pytest_llmperf.load.clock import Offset

ONE = Account(1_000, 9_000, 0.5, 0.25, 0.125, [1, 2], -5_000)
OTHER = Account(2_000, 9_500, 0.75, 0.125, 0.25, [3], 4_000, processes=2)


def test_the_account_of_one_process_alone_is_its_own() -> None:
    assert Account.merged([ONE]) == ONE


def test_several_processes_have_one_account_of_their_costliest() -> None:
    assert Account.merged([ONE, OTHER]) == Account(
        started_ns=1_000,
        ended_ns=9_500,
        cpu_s=0.75,
        cpu_wait_s=0.25,
        steal_share=0.25,
        read_lags_ns=[1, 2, 3],
        clock_drift_ns=-5_000,
        processes=3,
    )


def test_it_does_not_matter_in_which_order_accounts_are_merged() -> None:
    one, other = Account.merged([ONE, OTHER]), Account.merged([OTHER, ONE])
    assert sorted(one.read_lags_ns) == sorted(other.read_lags_ns)
    assert Account(**{**vars(one), "read_lags_ns": []}) == Account(**{**vars(other), "read_lags_ns": []})


def test_work_costs_cpu_time_and_the_time_it_took() -> None:
    meter = Meter()
    started_ns = time.monotonic_ns()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    account, after = meter.stop(started_ns, [7])
    assert account.started_ns == started_ns
    assert started_ns < account.ended_ns <= time.monotonic_ns()
    assert account.cpu_s >= 0.04
    assert account.cpu_wait_s >= 0
    assert 0 <= account.steal_share <= 1
    assert account.read_lags_ns == [7]
    assert account.processes == 1
    assert account.clock_drift_ns == after.value_ns - meter.before.value_ns


def test_the_drift_is_how_far_the_clocks_moved_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = iter([Offset(0, 1_000), Offset(1_000_000_000, 400)])
    monkeypatch.setattr(account_module, "read_offset", lambda: next(offsets))
    assert Meter().stop(0, [])[0].clock_drift_ns == -600


class Kernel:
    """Stands for what the kernel tells of this thread and of all cores."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.schedstat, self.stat = directory / "schedstat", directory / "stat"
        monkeypatch.setattr(account_module, "_SCHEDSTAT", self.schedstat)
        monkeypatch.setattr(account_module, "_STAT", self.stat)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 10}, raising=False)

    def tell(self, waited_ns: int, *cores: tuple[int, int, int]) -> None:
        """``cores``: a core's number, its stolen ticks and all others."""
        self.schedstat.write_text(f"123456 {waited_ns} 789\n")
        rows = [f"cpu{core} {rest} 0 0 0 0 0 0 {stolen} 5000 6000" for core, stolen, rest in cores]
        self.stat.write_text("\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *rows, "intr 1 2 3", "ctxt 7", ""]))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def test_waiting_for_a_core_and_what_a_hypervisor_kept_are_the_kernels_to_tell(kernel: Kernel) -> None:
    kernel.tell(2_000_000_000, (0, 100, 100), (1, 10, 1000), (10, 20, 2000))
    meter = Meter()
    kernel.tell(3_500_000_000, (0, 900, 900), (1, 20, 1020), (10, 30, 2060))
    account, _ = meter.stop(0, [])
    assert account.cpu_wait_s == pytest.approx(1.5)
    # Of the cores that this process may use, 20 of 100 ticks.
    assert account.steal_share == pytest.approx(0.2)


def test_a_run_shorter_than_a_tick_had_nothing_stolen(kernel: Kernel) -> None:
    kernel.tell(1, (1, 10, 1000))
    assert Meter().stop(0, [])[0].steal_share == 0


@pytest.mark.parametrize(
    "content", [None, "", "nonsense", "cpu1 1 2\n", "cpu1 a b c d e f g h i\n", "\xb2 \xb2"]
)
def test_a_kernel_that_tells_something_else_costs_two_figures_and_no_run(
    kernel: Kernel, content: str | None
) -> None:
    if content is not None:
        kernel.schedstat.write_text(content)
        kernel.stat.write_text(content)
    account, _ = Meter().stop(0, [])
    assert account.cpu_wait_s == 0
    assert account.steal_share == 0
    assert account.cpu_s >= 0


def test_a_system_without_affinities_tells_of_nothing_stolen(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.tell(1, (1, 10, 1000))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert Meter().stop(0, [])[0].steal_share == 0
