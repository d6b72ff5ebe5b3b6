"""Life of the process in which a function under examination runs: import it, then answer calls.

Nothing that the function does here reaches the examination but its answers.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from approxattn.testing.calls import Local, Trouble, told_error
from approxattn.testing.conduct import look_up_thread_pools
from approxattn.testing.frameworks import autograd, conversions
from proofs_check.kit.messages import answer_message, packed, trouble_message, unpacked


def serve(channel: int, lifeline: int) -> None:
    """Answer call by call, each a line, until the examination hangs up."""
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been switched off
    home, connection = os.getpid(), socket.socket(fileno=channel)
    requests = connection.makefile("rb")
    try:
        callers = _callers(unpacked(requests.readline()))
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, and is reported
        connection.sendall(packed({"unusable": told_error(error)}))
        return
    function = callers["function"]
    ready = {"name": function.name, "keywords": sorted(function.keywords)}
    connection.sendall(packed(ready))
    for request in requests:
        answer = packed(_answer(callers, unpacked(request)))
        if os.getpid() != home:  # a copy that the function made of its process speaks for nobody
            os._exit(1)
        connection.sendall(answer)


def _end_with(lifeline: int) -> None:
    """Wait for the end of whoever started this process, then end its whole group at once."""
    while os.read(lifeline, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _callers(request: Mapping[str, Any]) -> dict[str, Local]:
    """Import what is named; it may have its say on what it needs, but not on what is read."""
    sys.path[:] = request["path"]
    put, get = conversions(request["framework"])
    function = _imported(request["package"], request["function"])
    look_up_thread_pools()

    def local(called: Callable[..., Any]) -> Local:
        plain = request["framework"] == "numpy"
        # The examination reads standard output itself, and so hears all that comes from here.
        return Local(function=called, put=put, get=get, options={}, plain=plain, listen=False)

    callers = {"function": local(function)}
    if request["autograd"]:
        callers["gradient"] = local(autograd(function, {}))
    return callers


def _imported(package: str, name: str) -> Callable[..., Any]:
    function = getattr(importlib.import_module(package), name)
    if not callable(function):
        msg = f"{name} is no function"
        raise TypeError(msg)
    return function  # type: ignore[no-any-return]


def _answer(callers: Mapping[str, Local], request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer = callers[request["which"]](request["arrays"], request["options"])
    except Trouble as error:
        message = trouble_message(error)
    else:
        message = answer_message(answer)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the function has closed or removed it
            continue
    return message
