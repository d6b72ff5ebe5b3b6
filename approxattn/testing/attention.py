"""A function under test: what it is, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from approxattn.testing.calls import Host, Local
from approxattn.testing.conduct import look_up_thread_pools
from approxattn.testing.frameworks import Framework, autograd, conversions
from approxattn.testing.problem import Problem, fixed_problems, lengths_for, sizes_for
from approxattn.testing.subject import Subject, check_scale


@dataclass(frozen=True)
class Attention:
    """An attention function to be checked.

    Parameters
    ----------
    function : callable
        ``function(q, k, v) -> output``, softmax attention or an approximation of it. A keyword
        ``causal`` or ``is_causal`` is tried when there is one, and so are ``key_mask`` (bool, shape
        (n_k,), True where a key takes part), ``query_offset`` (position of query 0 among the keys,
        with a causal mask), ``window`` or ``window_size`` (keys before, keys after) and
        ``segments`` (int, shape (n,), numbers of packed sequences).
    name : str
        For test names; that of the function unless given.
    framework : {"numpy", "torch"}
        Whose arrays it takes. torch is imported only when it is named here.
    leading : int
        Number of leading axes that it needs, for example 2 for (batch, heads, n, d). With 0 a batch
        of two is tried too, when the function takes one.
    square : bool
        Whether it needs as many queries as keys, as self-attention does.
    exact : bool
        Whether it claims to be softmax attention up to rounding. An approximation must only be
        nearer to it than the zero output and than the mean of V.
    scale : float or None
        Factor of q . k in it; None is 1/sqrt(d).
    options : mapping
        Further keyword arguments of every call.
    keywords : collection of str
        Names of keywords that it has though its signature does not tell them, as of built-in
        functions: ``("is_causal",)`` for that of torch.
    gradient : callable, "autograd" or None
        ``gradient(q, k, v, dout) -> (dq, dk, dv)``, compared with difference quotients of the
        function; with torch ``"autograd"`` takes that of the function itself.
    sizes : sequence of int or None
        Numbers of tokens to try; no check uses more than the largest. None: 1 to 1,000, around the
        ends of blocks of 16, 64, 128 and 256, and twice as many keys.
    multiple_of : int
        What divides every number of tokens that it takes, as for kernels that work in blocks.
    d, dv : int
        Numbers of columns of queries and of values to try.
    put, get : callable or None
        Host array to another library's array and back, in the place of `framework`.
    expected_failures : mapping of str to str
        Check -> why the function is not meant to pass it. It must fail then, but never by an
        exception.

    Raises
    ------
    ValueError
        For an unknown framework or check, sizes that are no multiples, numbers out of range, or
        ``gradient="autograd"`` without torch.
    """

    function: Callable[..., Any]
    name: str = ""
    framework: Framework = "numpy"
    leading: int = 0
    square: bool = False
    exact: bool = True
    scale: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    keywords: Collection[str] = ()
    gradient: Callable[..., Any] | Literal["autograd"] | None = None
    sizes: Sequence[int] | None = None
    multiple_of: int = 1
    d: int = 4
    dv: int = 3
    put: Callable[[Host], Any] | None = None
    get: Callable[[Any], Host] | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("leading", 0), ("d", 1), ("dv", 1)):
            if not getattr(self, name) >= least:
                msg = f"{name}(={getattr(self, name)!r}) must be at least {least}"
                raise ValueError(msg)
        check_scale(self.scale)
        lengths_for(self.sizes, self.multiple_of)
        conversions(self.framework)
        if self.gradient == "autograd" and self.framework != "torch":
            msg = (
                f"gradient(='autograd') needs framework='torch', not {self.framework!r}: give the "
                "gradient as a function"
            )
            raise ValueError(msg)

    def problems(self, seed: int = 0) -> list[Problem]:
        """Return the problems it is put to."""
        sizes = sizes_for(lengths_for(self.sizes, self.multiple_of), self.sizes)
        return list(fixed_problems(np.random.default_rng(seed), sizes, self.d, self.dv))

    def subject(self) -> Subject:
        """Return it as the laws see it, with a new record of its conduct."""
        gradient = self.gradient
        if gradient == "autograd":
            gradient = autograd(self.function, dict(self.options))
        look_up_thread_pools()
        return Subject(
            caller=self._caller(self.function),
            gradient=None if gradient is None else self._caller(gradient),
            scale=self.scale,
            leading=self.leading,
            square=self.square,
            exact=self.exact,
            lengths=lengths_for(self.sizes, self.multiple_of),
        )

    def _caller(self, function: Callable[..., Any]) -> Local:
        put, get = conversions(self.framework)
        return Local(
            function=function,
            put=self.put or put,
            get=self.get or get,
            options=dict(self.options),
            plain=self.framework == "numpy" and self.get is None,
            named=frozenset(self.keywords),
        )

    def __repr__(self) -> str:
        return self.name or str(getattr(self.function, "__qualname__", "attention"))
