"""The parameters of a transformer by name, for optimisers and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import array_api_compat as compat

from approxattn._arrays import Array
from approxattn.transformer.model import Transformer


def parameters(model: Transformer) -> dict[str, Array]:
    """Return all arrays of a model, or of its gradient, by name, such as "layers.0.attention.wq".

    Parameters
    ----------
    model : Transformer
        Weights or their gradients.

    Returns
    -------
    dict of str to array
        In a fixed order, the same for a model and its gradient.
    """
    return dict(_walk(model, ""))


def with_parameters(model: Transformer, values: Mapping[str, Array]) -> Transformer:
    """Return a copy of a model with other arrays.

    Parameters
    ----------
    model : Transformer
        The model; it is not changed.
    values : mapping of str to array
        New arrays, by the names of `parameters`; what is not named stays.

    Returns
    -------
    Transformer
        The copy.

    Raises
    ------
    KeyError
        A name that the model does not have.
    """
    unknown = sorted(set(values) - set(parameters(model)))
    if unknown:
        msg = (
            f"values has {', '.join(unknown)}: the model has no such parameters; parameters(model) "
            "lists them"
        )
        raise KeyError(msg)
    changed: Transformer = _rebuild(model, "", values)
    return changed


def _walk(node: Any, path: str) -> list[tuple[str, Array]]:
    if compat.is_array_api_obj(node):
        return [(path[:-1], node)]
    return [leaf for name, child in _children(node) for leaf in _walk(child, f"{path}{name}.")]


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, tuple):
        return [(str(i), child) for i, child in enumerate(node)]
    if is_dataclass(node):
        return [(f.name, getattr(node, f.name)) for f in fields(node)]
    return []


def _rebuild(node: Any, path: str, values: Mapping[str, Array]) -> Any:
    if compat.is_array_api_obj(node):
        return values.get(path[:-1], node)
    built = {name: _rebuild(child, f"{path}{name}.", values) for name, child in _children(node)}
    if isinstance(node, tuple):
        return tuple(built.values())
    return replace(node, **built) if is_dataclass(node) else node  # type: ignore[type-var]
