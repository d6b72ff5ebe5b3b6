"""What the process of a function and the examination tell each other: JSON, so that nothing that
the function's process says can run here.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from approxattn.testing.calls import Answer, Host, Left, Refused, Trouble, Unusable

_TROUBLES: Mapping[str, type[Trouble]] = {kind.__name__: kind for kind in (Left, Refused, Unusable)}


def packed(message: Mapping[str, Any]) -> bytes:
    """Return a message as a line; arrays may stand in it."""
    return json.dumps(message, default=_packed_array).encode() + b"\n"


def unpacked(data: bytes) -> dict[str, Any]:
    """Undo `packed`; ValueError when that is not what it is."""
    message = json.loads(data, object_hook=_unpacked_array)
    if not isinstance(message, dict):
        msg = "a message is a mapping"
        raise ValueError(msg)
    return message


def _packed_array(x: Any) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(x).tobytes()).decode()
    return {"dtype": x.dtype.str, "shape": list(x.shape), "data": data}


def _unpacked_array(entry: dict[str, Any]) -> Any:
    if entry.keys() != {"dtype", "shape", "data"}:
        return entry
    dtype, shape = np.dtype(entry["dtype"]), tuple(int(n) for n in entry["shape"])
    data = base64.b64decode(entry["data"])
    if dtype.kind not in "biufc" or len(data) != dtype.itemsize * math.prod(shape):
        msg = "an array is not what it says"
        raise ValueError(msg)
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()


def answer_message(answer: Answer) -> dict[str, Any]:
    """Return the message about a call that gave numbers."""
    return {"outputs": list(answer.outputs), "misdeeds": [list(m) for m in answer.misdeeds]}


def trouble_message(error: Trouble) -> dict[str, Any]:
    """Return the message about a call that gave none."""
    return {
        "trouble": type(error).__name__,
        "text": str(error),
        "misdeeds": [list(m) for m in error.misdeeds],
    }


def answer_of(message: Mapping[str, Any]) -> Answer:
    """Read either of the two messages.

    Raises
    ------
    Trouble
        When the call gave no numbers.
    LookupError, TypeError, ValueError
        When it is neither message.
    """
    misdeeds = tuple((str(name), str(what)) for name, what in message["misdeeds"])
    if "trouble" in message:
        raise _TROUBLES[message["trouble"]](str(message["text"]), misdeeds)
    outputs: list[Host] = list(message["outputs"])
    if not outputs or not all(isinstance(x, np.ndarray) for x in outputs):
        msg = "outputs are arrays"
        raise ValueError(msg)
    return Answer(outputs=tuple(outputs), misdeeds=misdeeds)
