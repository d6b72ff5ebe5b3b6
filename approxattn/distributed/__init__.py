"""Attention over files that no memory holds, in this process or on many.

Files are read and written block by block (`sources`, `targets`), a journal beside the output says
what is done (`journal`), and whoever can carries out the tasks (`engines`).
"""

from approxattn.distributed.calls import attention, attention_vjp
from approxattn.distributed.engines import WorkersLostError
from approxattn.distributed.planning.model import Capacity, capacity
from approxattn.distributed.written import Written, WrittenGradients

__all__ = [
    "Capacity",
    "WorkersLostError",
    "Written",
    "WrittenGradients",
    "attention",
    "attention_vjp",
    "capacity",
]
