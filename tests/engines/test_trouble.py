"""The decisive line of logs of real engines; the GPU's are cut and shortened from what users reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.engines.signatures import CONSEQUENCES, STRONG, WEAK
from pytest_llmperf.engines.trouble import MAX_QUOTE, find_trouble, last_words

LOGS = Path(__file__).parent / "logs"
# The file of a log, the exit code, how the cause and the line begin; an empty cause: only the line is known.
CASES = {
    "llamacpp-architecture": (1, "this version does not support", "llama_model_load: error loading model: "),
    "llamacpp-assertion-in-debugger": (
        -6,
        "a check inside the engine failed",
        "/workspace/thirdparty/llama.cpp",
    ),
    "llamacpp-bad-flag": (1, "it does not know the flag --paralell", "error: invalid argument: --paralell"),
    "llamacpp-cuda-memory": (
        1,
        "out of GPU memory",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating",
    ),
    "llamacpp-no-model": (1, "the model file is not there", "gguf_init_from_file: failed to open GGUF file"),
    "llamacpp-truncated-model": (
        1,
        "the model file is damaged",
        "llama_model_load: error loading model: tensor",
    ),
    "python-disk-full": (1, "the disk is full", "OSError: [Errno 28] No space left"),
    "python-driver-too-old": (
        1,
        "the NVIDIA driver is older",
        "RuntimeError: The NVIDIA driver on your system",
    ),
    "python-ignored-exception": (1, "", "KeyError: 'queue'"),
    "python-main-memory": (1, "out of main memory", "RuntimeError: [enforce fail at alloc_cpu.cpp:121]"),
    "python-missing-package": (
        1,
        "the Python package sgl_kernel is missing",
        "ModuleNotFoundError: No module",
    ),
    "python-open-files": (1, "too many open files", "OSError: [Errno 24]"),
    "python-segfault": (-11, "it crashed (SIGSEGV)", "Fatal Python error: Segmentation fault"),
    "sglang-bad-flag": (
        2,
        "it does not know the flag --max-num-seqs",
        "launch_server.py: error: unrecognized",
    ),
    "sglang-gpu-memory": (1, "out of GPU memory", "torch.OutOfMemoryError: CUDA out of memory. Tried"),
    "sglang-nccl": (1, "its GPUs could not talk", "torch.distributed.DistBackendError: NCCL error in"),
    "sglang-not-enough-memory": (1, "no memory is left for the KV cache", "RuntimeError: Not enough memory."),
    "sglang-scheduler-killed": (1, "one of the engine's own processes was killed", "Exit code: -9"),
    "trtllm-assertion": (-6, "a check inside the engine failed", "what(): [TensorRT-LLM][ERROR] Assertion"),
    "trtllm-bad-flag": (
        2,
        "it does not know the flag --max_batchsize",
        "Error: No such option: --max_batchsize",
    ),
    "trtllm-bad-value": (2, "the flag --tp_size has a value", "Error: Invalid value for '--tp_size'"),
    "trtllm-gpu-memory": (
        1,
        "out of GPU memory",
        "Failed to initialize executor on rank 1: Executor creation",
    ),
    "trtllm-rank-killed": (
        1,
        "one of the engine's own processes was killed",
        "mpirun noticed that process rank 6",
    ),
    "vllm-architecture": (1, "this version does not support", "Value error, Model architectures ['FooFor"),
    "vllm-bad-flag": (2, "it does not know the flag --max-num-seq-s", "vllm: error: unrecognized arguments"),
    "vllm-bad-value": (
        2,
        "the flag --dtype has a value",
        "vllm serve: error: argument --dtype: invalid choice",
    ),
    "vllm-core-killed": (
        0,
        "one of the engine's own processes ended",
        "[shutdown] MPClient: engine core exited",
    ),
    "vllm-died-under-load": (
        1,
        "a GPU kernel failed",
        "torch.AcceleratorError: CUDA error: an illegal memory",
    ),
    "vllm-empty-folder": (
        1,
        "there is no such model",
        "Value error, Invalid repository ID or local directory",
    ),
    "vllm-gated": (1, "the model may not be read", "requests.exceptions.HTTPError: 401 Client Error"),
    "vllm-gpu-memory": (1, "out of GPU memory", "torch.OutOfMemoryError: CUDA out of memory. Tried"),
    "vllm-gpu-shared": (
        1,
        "too little GPU memory is free",
        "ValueError: Free memory on device cuda:0 (10.2/79.1",
    ),
    "vllm-kernel-image": (
        1,
        "the engine was not built for this GPU",
        "torch.AcceleratorError: CUDA error: no",
    ),
    "vllm-kv-cache-too-small": (
        1,
        "the KV cache has no room",
        "ValueError: To serve at least one request with",
    ),
    "vllm-torchvision": (
        1,
        "packages of its environment do not fit each other",
        "RuntimeError: operator torchvision::nms does not exist",
    ),
    "vllm-ninja": (1, "a kernel could not be compiled", "subprocess.CalledProcessError: Command '['ninja'"),
    "vllm-no-cache-blocks": (
        1,
        "no memory is left for the KV cache",
        "ValueError: No available memory for the",
    ),
    "vllm-no-driver": (1, "it found no GPU that it can use", "RuntimeError: Failed to infer device type"),
    "vllm-no-such-model": (1, "there is no such model", "OSError: nobody/nothing is not a local folder"),
    "vllm-no-tokenizer": (
        1,
        "the tokenizer cannot be loaded",
        "ValueError: Couldn't instantiate the backend",
    ),
    "vllm-no-weights": (1, "the model folder lacks a file", "RuntimeError: Cannot find any model weights"),
    "vllm-offline": (1, "the model is not on this machine", "huggingface_hub.errors.LocalEntryNotFoundError"),
    "vllm-port-taken": (1, "its port was taken", "OSError: [Errno 98] Address already in use"),
    "vllm-tensor-parallel": (
        1,
        "the model cannot be split",
        "Value error, Total number of attention heads (4)",
    ),
    "vllm-unknown-exception": (1, "", "KeyError: 'layers.0.self_attn.qkv_proj.weight_scale'"),
}


def test_every_log_has_its_case() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_cause_of_a_real_failure_is_found(name: str) -> None:
    exit_code, cause, line = CASES[name]
    trouble = find_trouble((LOGS / f"{name}.log").read_text(), exit_code)
    assert trouble is not None
    assert trouble.cause.startswith(cause) if cause else not trouble.cause
    assert trouble.line.startswith(line)
    assert len(trouble.line) <= MAX_QUOTE


@pytest.mark.parametrize(
    "name", sorted(name for name, case in CASES.items() if case[1].startswith("out of "))
)
def test_memory_that_ran_out_is_told_even_of_a_process_that_still_hangs(name: str) -> None:
    trouble = find_trouble((LOGS / f"{name}.log").read_text(), None)
    assert trouble is not None
    assert trouble.cause.startswith("out of ")


@pytest.mark.parametrize(
    "signature", [*STRONG, *WEAK, *CONSEQUENCES], ids=lambda signature: signature.cause[:30]
)
def test_every_cause_comes_with_advice(signature: tuple[object, str, str]) -> None:
    assert signature[2]


@pytest.mark.parametrize(
    ("log", "exit_code", "cause", "line"),
    [
        ("", 3, None, None),
        ("", None, None, None),
        ("loading\nall is well\n", None, None, None),
        ("KeyError: 'no traceback'\nloading\n", None, None, None),
        ("loading\n", 1, "", "loading"),
        ("loading\n", 0, "it ended by itself without an error", "loading"),
        ("loading\n", -9, "it was killed by SIGKILL", ""),
        ("loading\n", 137, "it was killed by SIGKILL", ""),
        ("torch.OutOfMemoryError: CUDA out of memory\n", -9, "out of GPU memory", "torch.OutOfMemoryError"),
        ("ModuleNotFoundError: No module named 'x'\n", -9, "it was killed by SIGKILL", ""),
        ("loading\n", -15, "somebody ended it with SIGTERM", ""),
        ("loading\n", -14, "it was ended by SIGALRM", "loading"),
        ("loading\n", -4, "the CPU does not know an instruction", "loading"),
        ("loading\n", -25, "it wrote a file beyond the limit", "loading"),
        ("loading\n", -200, "", "loading"),
        ("loading\n", 200, "", "loading"),
        ("could not do it: fatal\nbye\n", 1, "", "could not do it: fatal"),
        ("ERROR: one\nERROR: two\nbye\n", 1, "", "one"),
        ("WARNING: Too many open files\nloading\n", 1, "", "loading"),
        ("INFO: trust_remote_code=True\nloading\n", 1, "", "loading"),
        ("\x1b[31mMemoryError\x1b[0m\n", 1, "out of main memory", "MemoryError"),
    ],
)
def test_what_is_known_of_an_end(
    log: str, exit_code: int | None, cause: str | None, line: str | None
) -> None:
    trouble = find_trouble(log, exit_code)
    if cause is None or line is None:
        assert trouble is None
        return
    assert trouble is not None
    assert trouble.cause.startswith(cause) if cause else not trouble.cause
    assert trouble.line.startswith(line)


RAISED = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"
INTERLEAVED = (
    "(A pid=1) Traceback (most recent call last):\nValueError: of another\n(A pid=1) KeyError: mine\n"
)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (f"{RAISED}ValueError: cause\n{CAUSED}{RAISED}RuntimeError: effect\n", "ValueError: cause"),
        (f"{RAISED}KeyError: first\n{MEANWHILE}{RAISED}ValueError: chosen\n", "ValueError: chosen"),
        (f"{RAISED}KeyboardInterrupt\n{RAISED}ValueError: real\n", "ValueError: real"),
        (f"{RAISED}RuntimeError: Engine core initialization failed. See root cause above.\n", ""),
        (f"{RAISED}my.engine.Oops: odd\n", "my.engine.Oops: odd"),
        (INTERLEAVED, "KeyError: mine"),
    ],
)
def test_of_exceptions_it_is_the_one_that_caused_the_others(log: str, line: str) -> None:
    trouble = find_trouble(log, 1)
    assert trouble is not None
    assert trouble.line.startswith(line)
    assert "See root cause" not in trouble.line or not line


def test_of_a_configuration_error_the_inner_line_is_quoted() -> None:
    log = "pydantic.ValidationError: 1 validation error for EngineArgs\n  Input should be x [type=int, i=3]\n"
    trouble = find_trouble(log, 1)
    assert trouble is not None
    assert trouble.cause == "a value in its configuration is not valid"
    assert trouble.line == "pydantic.ValidationError: 1 validation error for EngineArgs: Input should be x"


def test_the_cause_is_found_in_the_middle_of_what_fits_and_beyond_it_costs_no_time() -> None:
    flood = "".join(f"line {number} of a flood\n" for number in range(400_000))
    began = time.process_time()
    found = find_trouble(f"{flood}MemoryError\n{flood[:200_000]}", 1)
    assert found is not None
    assert found.cause == "out of main memory"
    assert find_trouble(flood * 5, 1) is not None
    assert time.process_time() - began < 20  # a second, unless it grows with the length of the log


@pytest.mark.parametrize(
    "piece", ["(", "'ninja', ", "Free memory on device ", "Error: ", "a." * 50, "\r\r", "[["]
)
def test_no_line_makes_a_pattern_run_away(piece: str) -> None:
    began = time.process_time()
    find_trouble((piece * 4000 + "\n") * 20, 1)
    assert time.process_time() - began < 20


@given(st.text(max_size=2000), st.one_of(st.none(), st.integers(-70, 300)))
def test_no_text_is_too_odd(log: str, exit_code: int | None) -> None:
    trouble = find_trouble(log, exit_code)
    words = last_words(log, 5)
    shown = [*words, *([trouble.cause, trouble.line, trouble.advice] if trouble else [])]
    assert all(line.isprintable() and len(line) <= MAX_QUOTE for line in shown)


LINES = st.sampled_from(
    sorted({line for path in LOGS.glob("*.log") for line in path.read_text().split("\n")})
)


@given(st.lists(LINES, max_size=60), st.one_of(st.none(), st.integers(-31, 2)))
def test_no_mixture_of_real_lines_breaks_it(lines: list[str], exit_code: int | None) -> None:
    trouble = find_trouble("\n".join(lines), exit_code)
    assert trouble is None or "{" not in trouble.cause


def test_the_last_words_leave_out_what_says_nothing() -> None:
    log = (
        "a\n\n\x1b[1mb\x1b[0m\n#41 0x000055ccf95fe081 in _start ()\n38\tin ../sysdeps/x.S\n  c\td\n"
        + "x" * 900
    )
    assert last_words(log, 4) == ["a", "b", "  c d", "x" * (MAX_QUOTE - 1) + "…"]
    assert last_words("#1 x\n#2 y", 1) == ["#2 y"]
    assert last_words("", 3) == []
