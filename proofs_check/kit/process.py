"""The process in which a function under examination runs, seen from the examination."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import wait
from typing import Any

from approxattn.testing.conduct import told
from proofs_check.checkers.fresh import environment_of_children

_LONGEST = 1e6
"""Seconds that the operating system is asked to wait at most. *Chosen*."""

_LARGEST = 2**26
"""Bytes of an answer, at most: none of ours comes near. *Chosen*."""


class Process:
    """A process that serves, what it prints, and the pipes to it.

    It leads a session of its own: an interrupt from the keyboard does not reach it, and whatever
    it starts ends with it. When this process ends, so does that one, by the lifeline.
    """

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        code = f"from proofs_check.kit.server import serve; serve({theirs.fileno()}, {lifeline})"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            pass_fds=(theirs.fileno(), lifeline),
            env=environment_of_children(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        os.close(lifeline)
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self.heard = b""
        """The beginning of what it printed since somebody asked."""

    def exchange(self, request: bytes, seconds: float) -> bytes:
        """Send a request, which is a line, and wait for the line that answers, listening meanwhile.

        Raises
        ------
        TimeoutError
            When it takes longer.
        EOFError, OSError
            When the process is gone.
        ValueError
            When what comes is not one line.
        """
        until = time.monotonic() + min(seconds, _LONGEST)
        self._channel.settimeout(min(seconds, _LONGEST))
        self._channel.sendall(request)
        awaited: list[Any] = [self._channel, self._output.fileno()]
        answer = bytearray()
        while (left := until - time.monotonic()) > 0:
            ready: list[Any] = wait(awaited, timeout=left)
            if self._output.fileno() in ready and not self._listen():
                awaited.remove(self._output.fileno())  # closed: it cannot be heard any more
            if self._channel in ready:
                data = self._channel.recv(2**20)
                if not data:
                    raise EOFError
                answer += data
                if b"\n" in data or len(answer) > _LARGEST:
                    return self._only_line(answer)
        raise TimeoutError

    def _only_line(self, answer: bytearray) -> bytes:
        self._listen()
        if answer.index(b"\n") != len(answer) - 1:
            msg = "something follows the answer: the function speaks for itself"
            raise ValueError(msg)
        return bytes(answer)

    def _listen(self) -> bool:
        """Take in all that it printed until now; False when no more can come."""
        while True:
            try:
                data = os.read(self._output.fileno(), 2**16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.heard = (self.heard + data)[:200]

    def end(self) -> str:
        """How the process ended, and the beginning of what it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        with contextlib.suppress(OSError):
            self._listen()
        status = self._process.returncode
        how = "hung up" if status is None else f"ended with exit status {status}"
        if status is not None and status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        said = f", after it printed {told(self.heard)}" if self.heard else ""
        return f"its process {how}{said}"

    def stop(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.close()
        self._output.close()
        os.close(self._lifeline)
