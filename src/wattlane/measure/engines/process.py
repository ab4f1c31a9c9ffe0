"""A server process of ours: started in a session of its own, awaited until it answers, stopped with all its children.

The session makes Ctrl-C reach us alone, and lets one signal reach every process of a server that starts several.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from wattlane.core.errors import InputError, MeasurementError
from wattlane.measure.engines.ask import get

STOP_LIMIT_S = 10.0
GONE_LIMIT_S = 3.0
POLL_S = 0.1
HEALTH_LIMIT_S = 2.0
TAIL_LINES = 15


class ServerProcess:
    """One command and what it starts. `name` is for people; `cores` pins it, None leaves it where we are."""

    def __init__(self, name: str, cores: frozenset[int] | None = None) -> None:
        self.name = name
        self._cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._log: tempfile._TemporaryFileWrapper[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the command, None before the start."""
        return self._process.pid if self._process else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], ready_url: str, limit_s: float) -> None:
        """Start `command` with `environment` added to ours and return once `ready_url` answers with success.

        Raises:
            MeasurementError: it ended or was not ready in time; the message holds the end of its log.
        """
        self._log = tempfile.NamedTemporaryFile(prefix="wattlane-engine-", suffix=".log")  # noqa: SIM115
        self._process = subprocess.Popen(
            list(command),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        if self._cores is not None:
            # before it has started threads of its own: they inherit the choice
            with suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, self._cores)
        try:
            self._await(ready_url, limit_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask it to end, then end what is left of its session; safe to call twice."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_LIMIT_S)
            # children outlive a killed parent; the session was made for us, so everything in it is ours
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            _await_end(self._process.pid)
        if self._log is not None:
            self._log.close()
            self._log = None

    def exit_reason(self) -> str | None:
        """Return None while it runs, else a sentence on how it ended."""
        if self._process is None:
            return "the engine was never started"
        code = self._process.poll()
        if code is None:
            return None
        return f"the {self.name} process {self._process.pid} ended with {code_name(code)}"

    def log_tail(self) -> str:
        """Return the last lines of what it wrote."""
        if self._log is None:
            return "  (no log)"
        lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (it wrote nothing)"

    def _await(self, url: str, limit_s: float) -> None:
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            ended = self.exit_reason()
            if ended:
                raise MeasurementError(f"{ended} while starting; its last words:\n{self.log_tail()}")
            try:
                get(url, HEALTH_LIMIT_S)
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        raise MeasurementError(
            f"{self.name} was not ready after {limit_s:.0f} s; expected {url} to answer; its last words:\n"
            f"{self.log_tail()}"
        )


def _await_end(group: int) -> None:
    """Wait a little until the kernel has taken down every process of the group; the memory is then free again."""
    deadline_s = time.monotonic() + GONE_LIMIT_S
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except OSError:
            return
        time.sleep(POLL_S)


def free_port() -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def core_set(text: str, option: str = "cores") -> frozenset[int] | None:
    """Return the cores of `0`, `0-3` or `0+2` (a comma separates options); None for an empty text.

    Raises:
        InputError: the text is of another form, or names a core that this machine lacks.
    """
    if not text:
        return None
    try:
        cores: set[int] = set()
        for part in text.split("+"):
            low, dash, high = part.partition("-")
            cores |= set(range(int(low), int(high if dash else low) + 1))
    except ValueError:
        raise InputError(f"{option} is {text!r}; expected core numbers such as 0, 0-3 or 0+2") from None
    missing = sorted(cores - set(range(os.cpu_count() or 1)))
    if missing or not cores:
        raise InputError(f"{option} is {text!r}; this machine has cores 0 to {(os.cpu_count() or 1) - 1}")
    return frozenset(cores)


def code_name(code: int) -> str:
    """Return the exit code or the signal's name."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
