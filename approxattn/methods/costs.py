"""What a call of a method takes, known before it starts: multiply-adds and bytes.

Multiply-adds are those of matrix products and of the sums that stand in their place; exponentials
and sorting are not among them. Bytes are the most that a call holds beyond its input at one time,
output and certificate included, on NumPy. Both are within a factor of two of what is counted and
measured (`tests/results/test_cost.py`), small problems apart, where what is fixed weighs most. What
depends on the data is taken at its expectation for tokens of random directions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from approxattn._arguments import check_choice, check_flag, check_integer
from approxattn.softmax.scores import SCORES_AT_ONCE

DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one call of a method takes.

    Attributes
    ----------
    multiply_adds : int
        Of matrix products, and of the sums in their place.
    bytes : int
        The most that is held beyond the input at one time, output and certificate included.
    """

    multiply_adds: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a problem, the bytes of a number in the dtype that it is computed in, and whether
    exact attention may work in place.
    """

    n_q: int
    n_k: int
    d: int
    dv: int
    items: int
    width: int
    in_place: bool = True

    @property
    def tokens(self) -> float:
        """Half the number of queries and keys, of all leading indices."""
        return self.items * (self.n_q + self.n_k) / 2

    @property
    def pairs(self) -> float:
        """Pairs of a query and a key, of all leading indices."""
        return float(self.items * self.n_q * self.n_k)

    def held(self, d: float, dv: float, *, single: float = 0, double: float = 0) -> float:
        """Return the bytes of this many copies of queries or keys and of values or outputs, and of
        so many numbers a token in the dtype computed in, and in float64.
        """
        numbers = self.width * (d * self.d + dv * self.dv + single) + 8 * double
        return self.tokens * numbers

    def scores(self, keys: float, copies: float, *, width: int = 0) -> float:
        """Return the bytes of so many blocks of the scores of queries with `keys` keys each."""
        row = self.items * keys
        rows = min(self.n_q, max(1, SCORES_AT_ONCE // max(1, row)))
        return copies * (width or self.width) * row * rows


class Costed(ABC):
    """A method that says what it takes."""

    _backward: ClassVar[tuple[float, float]] = (3.0, 2.0)
    """How many times the multiply-adds and the bytes a gradient takes, its own forward pass
    included.
    """

    @abstractmethod
    def _multiply_adds(self, size: Size) -> float:
        """Return those of the output."""

    @abstractmethod
    def _bytes(self, size: Size) -> float:
        """Return what the output holds."""

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        """Return multiply-adds and bytes of the gradient."""
        times, more = self._backward
        return times * self._multiply_adds(size), more * self._bytes(size)

    def cost(
        self,
        n_q: int,
        n_k: int,
        d: int,
        dv: int,
        *,
        items: int = 1,
        dtype: str = "float64",
        gradient: bool = False,
        in_place: bool = True,
    ) -> Cost:
        """Return what a call takes, without making it.

        Parameters
        ----------
        n_q, n_k, d, dv : int
            Numbers of queries and keys, their width, and that of the values.
        items : int
            Leading batch indices, all together.
        dtype : {"float64", "float32", "float16", "bfloat16"}
            Of the arrays; half precisions are computed in float32, integers in float64.
        gradient : bool
            Whether `attention_vjp` is meant, not `attention`.
        in_place : bool
            False for arrays of other libraries than NumPy, and with a window, a bias, a soft cap,
            sinks or log-sum-exps: `Exact` then holds more scores at one time.

        Returns
        -------
        Cost
            `multiply_adds` and `bytes`, each within a factor of two of what is counted and
            measured for problems that are not small; those of `Exact` in every library, others on
            NumPy.

        Raises
        ------
        TypeError, ValueError
            If a number is no int or negative; if the data decide the cost, as they do for
            ``Polynomial(tolerance=...)``.
        """
        numbers = {"n_q": n_q, "n_k": n_k, "d": d, "dv": dv, "items": items}
        checked = {name: check_integer(name, number, 0) for name, number in numbers.items()}
        check_choice("dtype", dtype, DTYPES)
        check_flag("gradient", gradient)
        check_flag("in_place", in_place)
        size = Size(**checked, width=8 if dtype == "float64" else 4, in_place=in_place)
        if gradient:
            work, held = self._backward_cost(size)
        else:
            work, held = self._multiply_adds(size), self._bytes(size)
        return Cost(multiply_adds=round(work), bytes=round(held))
