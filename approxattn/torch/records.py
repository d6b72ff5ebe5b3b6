"""What happened in each call: its certificate, or why torch's own attention stood in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from approxattn.certificate import Certificate


class ExactFallbackWarning(UserWarning):
    """Torch's exact attention was computed in the place of a method, as `unsupported` allows."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of attention.

    Attributes
    ----------
    label : str
        Of a registered model: "layer 3"; otherwise what the caller said.
    method : str
        The method asked for.
    certificate : Certificate or None
        How far the output can be from exact attention; None where torch's own was computed.
    reason : str
        Why torch's own was computed; empty where it was not.
    """

    label: str
    method: str
    certificate: Certificate | None
    reason: str = ""


_LISTS: ContextVar[tuple[list[Call], ...]] = ContextVar("_LISTS", default=())


@contextmanager
def record_calls() -> Iterator[list[Call]]:
    """Collect a `Call` for every attention computed inside, forward only.

    Yields
    ------
    list of Call
        Grows while the block runs; compiled graphs fill it too.

    Examples
    --------
    >>> import torch
    >>> from approxattn.torch import record_calls, scaled_dot_product_attention
    >>> q, k, v = torch.rand(3, 2, 4, 50, 8)
    >>> with record_calls() as calls:
    ...     out = scaled_dot_product_attention(q, k, v, method="Polynomial(degree=4)")
    >>> calls[0].method, calls[0].certificate.bound.shape
    ('Polynomial(degree=4)', (2, 4))
    """
    calls: list[Call] = []
    token = _LISTS.set((*_LISTS.get(), calls))
    try:
        yield calls
    finally:
        _LISTS.reset(token)


def note(call: Call) -> None:
    """Hand a call to every list that collects, and warn if it fell back."""
    for calls in _LISTS.get():
        calls.append(call)
    if call.reason:
        where = f"{call.label}: " if call.label else ""
        warnings.warn(
            f"{where}torch's exact attention in the place of {call.method}: {call.reason}",
            ExactFallbackWarning,
            stacklevel=2,
        )
