"""llama.cpp's own HTTP server out of the ``xllamacpp`` wheel, as a process with llama-server's flags.

``python -P llamacpp_server.py --model F.gguf --port 8080 --parallel 8``; imports nothing of this package.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any


def parser() -> argparse.ArgumentParser:
    """The flags, spelled as llama-server spells them."""
    flags = argparse.ArgumentParser(prog="llamacpp", allow_abbrev=False)
    flags.add_argument("-m", "--model", required=True, help="model file (GGUF)")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8080)
    flags.add_argument("-a", "--alias", default="default", help="name under which the model is served")
    flags.add_argument(
        "-c", "--ctx-size", type=int, default=16384, help="tokens of context, all slots together"
    )
    flags.add_argument("-np", "--parallel", type=int, default=8, help="slots: requests decoded at once")
    flags.add_argument("-t", "--threads", type=int, default=1, help="threads of the decode")
    flags.add_argument("-tb", "--threads-batch", type=int, help="threads of the prefill")
    flags.add_argument("-b", "--batch-size", type=int, help="logical batch, in tokens")
    flags.add_argument("-ub", "--ubatch-size", type=int, help="physical batch, in tokens")
    flags.add_argument("--threads-http", type=int, default=64, help="connections served at once")
    flags.add_argument("-ngl", "--n-gpu-layers", type=int, default=0)
    flags.add_argument("--cache-prompt", action=argparse.BooleanOptionalAction, default=True)
    flags.add_argument("--api-key", help="bearer token that requests have to bring")
    flags.add_argument(
        "-cram", "--cache-ram", type=int, default=0, help="MiB for prompts whose slot was taken"
    )
    flags.add_argument("-lv", "--verbosity", type=int)
    return flags


def common_params(flags: argparse.Namespace, params: Any) -> Any:
    """Fill xllamacpp's ``CommonParams``, in the spelling of old (2026.4) and new (2026.10) wheels."""
    params.model.path = flags.model
    params.model_alias = {flags.alias}
    if hasattr(params, "hostnames"):
        params.hostnames = [flags.host]
    else:
        params.hostname = flags.host
    params.port = flags.port
    params.n_ctx = flags.ctx_size
    params.n_parallel = flags.parallel
    params.kv_unified = True
    params.cpuparams.n_threads = flags.threads
    params.cpuparams_batch.n_threads = flags.threads_batch or flags.threads
    if flags.batch_size:
        params.n_batch = flags.batch_size
        params.n_ubatch = min(params.n_ubatch, flags.batch_size)
    if flags.ubatch_size:
        params.n_ubatch = flags.ubatch_size
    params.n_threads_http = flags.threads_http
    params.n_gpu_layers = flags.n_gpu_layers
    params.cache_prompt = flags.cache_prompt
    params.cache_ram_mib = flags.cache_ram
    if not flags.cache_ram:
        # Erasing slots is offered only to who can save them, which is not meant here. With a cache in RAM it
        # would not erase what prompts left there.
        params.slot_save_path = "/dev/null/"
    params.warmup = True
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.fit_params = False
    params.offline = True
    if flags.api_key:
        params.api_keys = [flags.api_key]
    if flags.verbosity is not None:
        params.verbosity = flags.verbosity
    return params


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server's threads exist, so that they inherit it and sigwait() alone sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    flags = parser().parse_args()
    import xllamacpp

    server = xllamacpp.Server(common_params(flags, xllamacpp.CommonParams()))
    print(f"xllamacpp {xllamacpp.__version__} listening on {server.listening_address}", flush=True)
    signal.sigwait(signals)


if __name__ == "__main__":
    main()
