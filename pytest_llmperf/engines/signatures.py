"""What the logs of vLLM, SGLang, TensorRT-LLM, llama.cpp and what they stand on say when something is wrong.

One entry per cause: how a line says it, in plain words what that means, and what to do about it.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Signature(NamedTuple):
    """``cause`` and ``advice`` may have fields that are named groups of ``pattern``."""

    pattern: re.Pattern[str]
    cause: str
    advice: str


def _signature(cause: str, advice: str, *patterns: str, flags: int = 0) -> Signature:
    return Signature(re.compile("|".join(patterns), flags), cause, advice)


_LESS_MEMORY = (
    "let it hold less (a smaller model or context, fewer sequences at once, a smaller share of the memory "
    "for its cache) or give it more GPUs; nvidia-smi lists who else holds the GPU's memory"
)
_HELP = "compare with --help of this very version: flags come and go between versions"
_HUB = (
    "download it beforehand (hf download MODEL), pass a folder as --llmperf-model, or look at "
    "HF_HUB_OFFLINE, HF_HOME and HTTPS_PROXY"
)

STRONG = (
    # -- packages that do not fit each other ------------------------------------------------------------
    _signature(
        "packages of its environment do not fit each other (torch and one that was built for another torch)",
        "say where the right ones are (PIP_EXTRA_INDEX_URL, see docs/versions.md) and delete the lock file "
        "in .llmperf/locks: as long as it is there, the environment is made from it",
        r"operator torchvision::nms does not exist",
        r"torchvision.{0,80}compiled with different CUDA",
        r"PyTorch and torch\w+ (?:have|were compiled with) different",
    ),
    # -- memory of the GPU ------------------------------------------------------------------------------
    _signature(
        "too little GPU memory is free, less than the engine is to claim",
        "nvidia-smi lists who holds the GPU's memory; end that, or lower --gpu-memory-utilization",
        r"Free memory on device .{0,80}is less than desired GPU memory utilization",
    ),
    _signature(
        "the KV cache has no room for one request of the full context",
        "lower --max-model-len, or raise --gpu-memory-utilization (on a CPU: VLLM_CPU_KVCACHE_SPACE)",
        r"To serve at least one request with the model.{0,3} max seq len",
        r"max seq len \(\d+\) is larger than the maximum number of tokens that can be stored in KV cache",
    ),
    _signature(
        "no memory is left for the KV cache",
        "raise the engine's share of the memory (vLLM: --gpu-memory-utilization, SGLang: "
        "--mem-fraction-static), shorten the context, or give it more GPUs",
        r"No available memory for the cache blocks",
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        r"could not be created: KV cache",
    ),
    _signature(
        "the KV cache ran out while requests were served",
        "let fewer requests run at once (--max-running-requests, --max-num-seqs) or enlarge the cache",
        r"alloc_\w+ runs out of memory",
        r"(?:Prefill|Decode) out of memory",
    ),
    _signature(
        "out of GPU memory",
        _LESS_MEMORY,
        r"torch\.(?:cuda\.)?OutOfMemoryError",
        r"(?:CUDA|HIP) out of memory",
        r"(?:CUDA|HIP) error: out of memory",
        r"cudaMalloc(?:Async)? failed: out of memory",
        r"cudaErrorMemoryAllocation",
        r"CUBLAS_STATUS_ALLOC_FAILED",
        r"insufficient GPU memory",
        r"unable to allocate (?:CUDA|ROCm|Vulkan|Metal)\d* buffer",
    ),
    # -- the machine ------------------------------------------------------------------------------------
    _signature(
        "out of main memory",
        "free memory on the machine (a container has a limit of its own), or let the engine hold less",
        r"^MemoryError\b",
        r"std::bad_alloc",
        r"Cannot allocate memory",
        r"DefaultCPUAllocator: can't allocate memory",
        r"unable to allocate CPU\w* buffer",
        r"oom-kill|Out of memory: Killed process",
    ),
    _signature(
        "one of the engine's own processes was killed from outside, as the kernel does when main memory "
        "runs out",
        "dmesg (or the container's memory.events) tells whether the kernel did it; give it more main memory",
        r"exited on signal 9 \(Killed\)",
        r"[Ee]xit ?code:? ?(?:-9|137)\b|terminated with -9\b",
        r"killed by signal: Killed|terminated by signal SIGKILL",
    ),
    _signature(
        "shared memory is too small",
        "enlarge /dev/shm (docker: --ipc=host or --shm-size=16g)",
        r"insufficient shared memory",
        r"/dev/shm.{0,80}No space left",
        r"No space left.{0,80}/dev/shm",
    ),
    _signature(
        "the disk is full",
        "make room where it writes: df -h shows the file systems; the model cache is HF_HOME, temporary "
        "files go to TMPDIR",
        r"No space left on device",
        r"Disk quota exceeded",
    ),
    _signature(
        "too many open files",
        "raise the limit: ulimit -n 65535 before pytest",
        r"Too many open files",
    ),
    _signature(
        "no further thread or process may be started",
        "raise the limit (ulimit -u, the container's pids limit) or set OMP_NUM_THREADS lower",
        r"can't start new thread",
        r"pthread_create failed",
        r"fork: retry|fork: Resource temporarily unavailable",
    ),
    _signature(
        "its port was taken by another process",
        "run it again; ss -ltnp shows who listens",
        r"[Aa]ddress already in use",
        r"[Cc]ouldn't bind|[Cc]ould not bind|failed to bind",
        r"\bPort \d+ is (?:already )?(?:in use|occupied|not available)",
    ),
    # -- flags ------------------------------------------------------------------------------------------
    _signature(
        "it does not know the flag {flag}",
        _HELP,
        r"error: unrecognized arguments?: (?P<flag>[^\s=]+)",
        r"No such option:? '?(?P<flag2>-[^\s'=.]+)",
        r"error: (?:invalid|unknown) argument:? (?P<flag3>-\S+)",
        r"[Uu]nknown (?:option|flag|argument):? '?(?P<flag4>-[^\s'=]+)",
    ),
    _signature(
        "the flag {flag} has a value that it does not take",
        _HELP,
        r"error: argument (?P<flag>[^\s:]+): ",
        r"Invalid value for '?(?P<flag2>-[^\s':]+)",
        r"error while handling argument \"(?P<flag3>[^\"]+)\"",
    ),
    _signature(
        "a flag is missing",
        _HELP,
        r"error: the following arguments are required",
        r"Missing (?:option|argument)",
    ),
    _signature(
        "the context that was asked for is longer than the model's",
        "lower --max-model-len (SGLang: --context-length)",
        r"User-specified max_model_len .{0,40}is greater than the derived",
        r"User-specified context_length .{0,40}is greater than the derived",
    ),
    _signature(
        "the model cannot be split over that many GPUs",
        "choose another --tensor-parallel-size, no more than there are GPUs, that divides the attention "
        "heads",
        r"must be divisible by (?:the )?tensor.parallel",
        r"[Ww]orld size \(?\d+\)? is (?:larger|greater) than the (?:number|total)",
        r"number of required GPUs exceeds the total number of available",
        r"not divisible by (?:tp|tensor)",
    ),
    # -- the model --------------------------------------------------------------------------------------
    _signature(
        "the model may not be read with the token there is",
        "accept the model's licence on the hub, and set HF_TOKEN to a token that may read it",
        r"GatedRepoError",
        r"access a gated repo",
        r"Access to model .{0,120}is restricted",
        r"401 Client Error|403 Client Error",
        r"Invalid user ?name or (?:password|token)",
    ),
    _signature(
        "the model is not on this machine and the hub could not be reached",
        _HUB,
        r"couldn't connect to 'https://huggingface\.co'",
        r"LocalEntryNotFoundError",
        r"OfflineModeIsEnabled",
        r"outgoing traffic has been disabled",
    ),
    _signature(
        "there is no such model, neither as a folder nor on the hub",
        "look at --llmperf-model: a folder with a config.json, or an id such as org/name",
        r"is not a local folder and is not a valid model identifier",
        r"RepositoryNotFoundError|Repository Not Found",
        r"Invalid repository ID or local directory specified",
        r"Repo id must (?:be|use)",
    ),
    _signature(
        "the model folder lacks a file",
        "look at what is in the folder: a config.json, a tokenizer and the weights belong there; "
        "--load-format dummy does without weights",
        r"does not appear to have a file named",
        r"no file named .{0,160}found in directory",
        r"Cannot find any model weights",
        r"(?:config|params)\.json.{0,40}(?:not found|does not exist)",
        r"No such file or directory: .{0,200}(?:config\.json|\.safetensors|\.index\.json)",
    ),
    _signature(
        "the model file is not there",
        "look at --llmperf-model",
        r"failed to open (?:GGUF file|model)",
        r"failed to open .{0,200}\.gguf",
    ),
    _signature(
        "the model file is damaged or of another kind",
        "compare its size and checksum with the source's, and download it anew",
        r"failed to read magic|invalid magic|bad magic",
        r"data is not within the file bounds|corrupted or incomplete",
        r"SafetensorError|MetadataIncompleteBuffer|HeaderTooLarge|InvalidHeaderDeserialization",
        r"PytorchStreamReader failed",
    ),
    _signature(
        "this version does not support the model's architecture",
        "take a newer version of the engine, or of transformers where the line says so",
        r"Model architectures? .{0,160}(?:not supported|failed to be inspected)",
        r"unknown model architecture",
        r"does not recognize this architecture",
        r"[Uu]nsupported model (?:type|architecture)",
        r"has no (?:vLLM|SGLang) implementation",
    ),
    _signature(
        "the model brings code of its own, which the engine was not allowed to run",
        "add --trust-remote-code if you trust it",
        r"(?:option|argument|pass|passing|set|setting|adding) [`'\"]?(?:--)?trust[_-]remote[_-]code",
        r"contains custom code which must be executed",
    ),
    _signature(
        "the tokenizer cannot be loaded",
        "look for tokenizer.json or tokenizer.model in the model's folder; --tokenizer names another",
        r"Can't load tokenizer",
        r"Couldn't instantiate the backend tokenizer",
        r"error loading model vocabulary",
        r"Failed to (?:load|initialize|get) (?:the )?tokenizer",
    ),
    # -- GPU and driver ---------------------------------------------------------------------------------
    _signature(
        "the NVIDIA driver is older than the CUDA that the engine was built for",
        "update the driver, or take a build for an older CUDA; nvidia-smi shows what the driver can do",
        r"NVIDIA driver on your system is too old",
        r"driver version is insufficient",
        r"forward compatibility was attempted",
        r"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|system has unsupported display driver",
    ),
    _signature(
        "the engine was not built for this GPU",
        "take a build for the GPU's compute capability",
        r"no kernel image is available for execution",
        r"is not compatible with the current PyTorch installation",
        r"the provided PTX was compiled with an unsupported toolchain",
        r"requires (?:compute capability|SM) ?>= ?\d",
    ),
    _signature(
        "it found no GPU that it can use",
        "look at nvidia-smi and CUDA_VISIBLE_DEVICES; a container has to be given its GPUs (--gpus all)",
        r"Found no NVIDIA driver",
        r"No CUDA GPUs are available",
        r"no CUDA-capable device",
        r"Failed to infer device type|Device string must not be empty",
        r"libcuda\.so[.\d]*: cannot open shared object file",
        r"invalid device ordinal",
        r"CUDA driver initialization failed|CUDA unknown error",
        r"Torch not compiled with CUDA enabled",
        r"NVMLError_\w+",
    ),
    _signature(
        "the GPU itself reports a fault",
        "nvidia-smi -q and dmesg (Xid) tell more; take the GPU out of use",
        r"uncorrectable ECC error",
        r"CUDA error: (?:unrecoverable|hardware stack error)",
        r"GPU (?:is lost|has fallen off the bus)",
    ),
    _signature(
        "a kernel could not be compiled on this machine",
        "install a C++ compiler, the CUDA toolkit (nvcc, CUDA_HOME) and Python's headers, or take an image "
        "that has them",
        r"Ninja build failed|Error building extension|Error compiling objects for extension",
        r"\['ninja', .{0,400}returned non-zero exit status",
        r"Failed to find C compiler",
        r"Could not find nvcc|CUDA_HOME environment variable is not set",
        r"Python\.h: No such file",
        r"Ninja is required to load",
    ),
)
"""Causes: one of these is named even if other errors came before it."""

WEAK = (
    _signature(
        "the model is not on this machine and the hub could not be reached",
        _HUB,
        r"Temporary failure in name resolution",
        r"Name or service not known",
        r"Failed to resolve '",
        r"Network is unreachable",
    ),
    _signature(
        "a value in its configuration is not valid",
        _HELP,
        r"validation errors? for \w+",
    ),
    _signature(
        "it cannot work with the values of its flags",
        _HELP,
        r"failed to initialize the context: (?!failed to allocate)",
    ),
    _signature(
        "the Python package {package} is missing in its environment",
        "install it beside the engine, or take the engine's complete wheel or image",
        r"ModuleNotFoundError: No module named '(?P<package>[^']+)'",
    ),
    _signature(
        "a shared library is missing or of another version",
        "the packages in the engine's environment do not fit together: build it anew from one lock file",
        r"cannot open shared object file",
        r"undefined symbol",
        r"version [`'](?:GLIBC|CXXABI)\S+ not found",
        r"^ImportError: cannot import name",
    ),
    _signature(
        "a file may not be read or written",
        "look at the file's owner and mode, and at the user that runs pytest",
        r"PermissionError|Permission denied",
        r"Read-only file system",
    ),
    _signature(
        "a GPU kernel failed",
        "CUDA_LAUNCH_BLOCKING=1 names the kernel; nvidia-smi -q and dmesg (Xid) tell whether the GPU is at "
        "fault",
        r"illegal memory access",
        r"device-side assert triggered",
        r"unspecified launch failure",
        r"CUDA error: ",
    ),
    _signature(
        "its GPUs could not talk to each other",
        "NCCL_DEBUG=INFO tells more; a container needs /dev/shm (--ipc=host)",
        r"NCCL error|ncclUnhandledCudaError|ncclSystemError|ncclInternalError|ncclRemoteError",
        r"DistBackendError",
        r"MPI_ERR_\w+",
    ),
    _signature(
        "a check inside the engine failed",
        "most often two flags, or a flag and the model, do not fit together: try it without the "
        "flags; the line is what to search for in the engine's issues",
        r"GGML_ASSERT\(",
        r"Assertion (?:failed|`)",
        r"common\.cpp:\d+: get_sub_batch: failed",
    ),
)
"""What may be a cause, or the consequence of one."""

CONSEQUENCES = (
    _signature(
        "one of the engine's own processes ended without a word, as one does that is killed",
        "dmesg (or the container's memory.events) tells whether the kernel killed it for want of main memory",
        r"engine core exited unexpectedly",
        r"\bdied unexpectedly",
        r"EngineDeadError",
        r"Received sigquit from a child process",
        r"scheduler (?:is dead|died)",
        r"mpirun noticed that process",
        r"A child process (?:died|terminated)",
    ),
)
"""What is left to say where none of the processes told its cause."""
