"""What installers say, in their own words, and what is made of it."""

from __future__ import annotations

import sys

import pytest

from pytest_llmperf.places.installer import cause, is_hindrance, nearest

PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"

PIP_NO_VERSION = """
Looking in indexes: https://pypi.org/simple
ERROR: Could not find a version that satisfies the requirement vllm==9.9 (from versions: 0.1, 0.23.0, 0.24.0)
ERROR: No matching distribution found for vllm==9.9
"""
PIP_NO_NETWORK = """
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<HTTPSConnection object at
0x7f1c>: Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/six/
ERROR: Could not find a version that satisfies the requirement six==1.16.0 (from versions: none)
ERROR: No matching distribution found for six==1.16.0
"""
PIP_ABSENT = """
ERROR: Could not find a version that satisfies the requirement no-such-engine==1.0 (from versions: none)
ERROR: No matching distribution found for no-such-engine==1.0
"""
PIP_PYTHON = """
ERROR: Package 'vllm' requires a different Python: 3.11.7 not in '<3.15,>=3.12'
"""
PIP_FULL = """
Installing collected packages: torch
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""
PIP_BUILD = """
Collecting fancy-kernels==2.0
  error: subprocess-exited-with-error
      RuntimeError: CUDA_HOME is not set
      [end of output]
  ERROR: Failed building wheel for fancy-kernels
Failed to build fancy-kernels
error: failed-wheel-build-for-install
"""
PIP_METADATA = """
Processing /src/vllm
  error: subprocess-exited-with-error
      ModuleNotFoundError: No module named 'torch'
      [end of output]
error: metadata-generation-failed
"""
PIP_CONFLICT = """
ERROR: Cannot install a==1 and b==2 because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/
"""
UV_NO_VERSION = """
error: No solution found when resolving dependencies
  cause: Because there is no version of xllamacpp==2026.4.1 and you require
      xllamacpp==2026.4.1, we can conclude that your requirements are unsatisfiable.
"""
UV_OLD_NO_VERSION = """
  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of vllm==9.9 and you require
      vllm==9.9, we can conclude that your requirements are unsatisfiable.
"""
UV_CONFLICT = """
  × No solution found when resolving dependencies:
  ╰─▶ Because engine==1.0 depends on torch==2.11 and you require torch==2.13, we can conclude that your
      requirements are unsatisfiable.
"""
UV_ABSENT = """
  × No solution found when resolving dependencies:
  ╰─▶ Because no-such-engine was not found in the package registry and you
      require no-such-engine==1.0, we can conclude that your requirements are unsatisfiable.
"""
UV_NO_NETWORK = """
error: Request failed after 3 retries in 6.5s
  cause: Failed to fetch: http://127.0.0.1:9/simple/six/
  cause: tcp connect error
"""
UV_PYTHON = """
  × No solution found when resolving dependencies:
  ╰─▶ Because the current Python version (3.11.7) does not satisfy Python>=3.12 and
      vllm==0.40 depends on Python>=3.12, we can conclude that vllm==0.40 cannot be used.
"""
UV_BUILD = """
  × Failed to build `fancy-kernels==2.0`
  ├─▶ The build backend returned an error
  ╰─▶ Call to `setuptools.build_meta.build_wheel` failed (exit status: 1)
      [stderr]
      RuntimeError: CUDA_HOME is not set
      hint: This usually indicates a problem with the package
"""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (PIP_NO_VERSION, f"the package index has no vllm 9.9 for {PYTHON} on "),
        (PIP_NO_VERSION, "; nearest: 0.1, 0.23.0, 0.24.0"),
        (PIP_NO_NETWORK, "the package index cannot be reached: Name or service not known"),
        (PIP_ABSENT, "the package index has no no-such-engine 1.0 for "),
        (PIP_PYTHON, "not made for the Python of this test run: requires a different Python: 3.11.7 not in"),
        (PIP_FULL, "the disk is full"),
        (PIP_BUILD, "fancy-kernels cannot be built from source (RuntimeError: CUDA_HOME is not set)"),
        (
            PIP_METADATA,
            "/src/vllm cannot be built from source (ModuleNotFoundError: No module named 'torch')",
        ),
        (
            PIP_CONFLICT,
            "Cannot install a==1 and b==2 because these package versions have conflicting dependencies",
        ),
        (UV_NO_VERSION, "the package index has no xllamacpp 2026.4.1 for "),
        (UV_OLD_NO_VERSION, "the package index has no vllm 9.9 for "),
        (UV_CONFLICT, "Because engine==1.0 depends on torch==2.11 and you require torch==2.13"),
        (UV_ABSENT, "the package index has no no-such-engine for "),
        (
            UV_NO_NETWORK,
            "the package index cannot be reached: Failed to fetch: http://127.0.0.1:9/simple/six/",
        ),
        (UV_PYTHON, "test run: current Python version (3.11.7) does not satisfy Python>=3.12"),
        (UV_BUILD, "fancy-kernels==2.0 cannot be built from source (RuntimeError: CUDA_HOME is not set)"),
    ],
)
def test_the_cause_is_found_in_what_the_installer_says(log: str, said: str) -> None:
    found = cause(log.splitlines())
    assert found is not None
    assert said in found
    assert "\n" not in found


def test_a_log_that_says_nothing_has_no_cause() -> None:
    assert cause(["Collecting vllm", "Downloading vllm (300 MB)"]) is None


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.4", ["1.1", "1.2", "1.3", "1.10", "2.0"]),
        ("9", ["1.3", "1.10", "2.0"]),
        ("0", ["1.0", "1.1", "1.2"]),
        ("odd_", ["1.3", "1.10", "2.0"]),
    ],
)
def test_neighbours_are_by_version_and_not_by_spelling(version: str, found: list[str]) -> None:
    assert nearest(version, ["2.0", "1.10", "1.2", "1.0", "1.1", "odd_", "1.3"]) == found


@pytest.mark.parametrize(
    ("complaint", "is_one"),
    [
        ("the disk is full", True),
        ("the disk is full: 3 MiB are free at /cache\nto repeat it by hand: x", True),
        ("the package index cannot be reached: Name or service not known", True),
        ("the package index cannot be reached: Failed to fetch: `http://127.0.0.1:9/simple/six/`", True),
        ("the package index cannot be reached: Failed to fetch: http://127.0.0.1:9/simple/six/", True),
        ("the package index cannot be reached: Failed to fetch: `https://files.org/engine-1.0.whl`", False),
        ("the package index cannot be reached: Failed to fetch: https://files.org/engine-1.0.whl", False),
        ("the package index has no vllm 9.9 for Python\nthe disk is full", False),
        ("engine cannot be built from source", False),
    ],
)
def test_what_hinders_every_installation_says_nothing_about_this_one(complaint: str, is_one: bool) -> None:
    assert is_hindrance(complaint) is is_one
