"""Hold a CUDA context on every visible GPU, with nothing in it, until standard input closes. Runs on its own.

One line comes out: {"uuids": [...]} once all contexts are there, or {"error": "..."}. Only the driver library is used.
Source: https://docs.nvidia.com/cuda/cuda-driver-api/ (primary context management, cuDeviceGetUuid).
"""

from __future__ import annotations

import ctypes
import json
import sys
import uuid


def hold(path: str) -> list[str]:
    """Make the contexts and return the UUIDs of their GPUs; raise OSError where there is no driver or one refuses."""
    cuda = ctypes.CDLL(path)

    def call(name: str, *arguments: object) -> None:
        code = getattr(cuda, name)(*arguments)
        if code:
            raise OSError(f"{name} gives error {code}")

    count, found = ctypes.c_int(), []
    call("cuInit", 0)
    call("cuDeviceGetCount", ctypes.byref(count))
    for index in range(count.value):
        device, context, raw = ctypes.c_int(), ctypes.c_void_p(), (ctypes.c_ubyte * 16)()
        call("cuDeviceGet", ctypes.byref(device), index)
        call("cuDeviceGetUuid", ctypes.byref(raw), device)
        call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        found.append(f"GPU-{uuid.UUID(bytes=bytes(raw))}")
    return found


def main() -> None:
    """Hold, say so, and wait."""
    try:
        answer: dict[str, object] = {"uuids": hold(sys.argv[1])}
    except (OSError, AttributeError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
