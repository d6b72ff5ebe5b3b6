"""Checks that the records of a model make when they are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from approxattn import _arrays
from approxattn._arrays import Array


def check_parameters(
    owner: str, shapes: Mapping[str, tuple[Array | None, Sequence[int | str]]]
) -> None:
    """Check that arrays have the shapes given, where a letter stands for a number that must be the
    same wherever it occurs, and share a dtype and a library.

    Raises
    ------
    TypeError
        No array, several libraries or dtypes, not float32 or float64.
    ValueError
        A shape that does not fit.
    """
    arrays = {f"{owner}.{name}": array for name, (array, _) in shapes.items() if array is not None}
    _arrays.namespace(**arrays)
    kinds = {name: _arrays.dtype_name(array) for name, array in arrays.items()}
    if len(set(kinds.values())) > 1 or not set(kinds.values()) <= {"float32", "float64"}:
        listed = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        msg = f"{listed}: the parameters must all be float32 or all float64; cast them"
        raise TypeError(msg)
    letters: dict[str, tuple[int, str]] = {}
    for name, (array, shape) in shapes.items():
        if array is None:
            continue
        if array.ndim != len(shape):
            msg = (
                f"{owner}.{name} has shape {tuple(array.shape)}: it needs the axes "
                f"{_written(shape)}"
            )
            raise ValueError(msg)
        for size, want in zip(array.shape, shape, strict=True):
            known, where = (
                letters.setdefault(want, (size, name))
                if isinstance(want, str)
                else (want, "the rule")
            )
            if size != known or size == 0:
                msg = (
                    f"{owner}.{name} has shape {tuple(array.shape)}: axis {want} of "
                    f"{_written(shape)} must be {known or 'positive'}, as in {where}"
                )
                raise ValueError(msg)


def check_width(owner: str, x: Array, width: int, parameter: Array) -> None:
    """Check that tokens have the width and the dtype of the parameters that meet them."""
    if x.ndim < 2 or x.shape[-1] != width:
        msg = (
            f"{owner} was given tokens of shape {tuple(x.shape)}: its parameters need (..., n, "
            f"{width})"
        )
        raise ValueError(msg)
    if x.dtype != parameter.dtype:
        msg = (
            f"{owner} was given {x.dtype} tokens, its parameters are {parameter.dtype}: cast one "
            "of them, so that no precision is lost unseen"
        )
        raise TypeError(msg)


def _written(shape: Sequence[int | str]) -> str:
    return "(" + ", ".join(str(s) for s in shape) + ")"
