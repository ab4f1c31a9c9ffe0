"""The llama.cpp server in a process of its own: `python -m wattlane.measure.engines.xllamacpp_server --model FILE`.

Prints `listening URL` once it accepts connections, then serves until SIGTERM or until its parent is gone. One compute
thread by default: with two, any other busy process makes every step wait for a descheduled thread.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence

from wattlane.core.extras import require

PARENT_CHECK_S = 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse `arguments`, start the server and stay until told to stop."""
    options = _parser().parse_args(arguments)
    xllamacpp = require("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context_tokens
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.endpoint_metrics = params.endpoint_slots = params.cont_batching = True
    params.warmup = False
    parent = os.getppid()
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening {server.listening_address}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve one GGUF file through the OpenAI-compatible API.")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--slots", type=int, default=8, help="requests decoded together")
    parser.add_argument("--context-tokens", type=int, default=2048, help="tokens of context per slot")
    parser.add_argument("--threads", type=int, default=1, help="compute threads")
    return parser


if __name__ == "__main__":
    main()
