"""Why a certificate of a transformer says nothing, or less than it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.certificate import Certificate, GradientCertificate


class Place(NamedTuple):
    """Where a bound was carried to: what is there, by name, and the bound."""

    name: str
    value: Array
    bound: HostArray


def unmet(certificate: Certificate | GradientCertificate, target: str) -> tuple[str, ...]:
    """Return why a method's certificate says nothing about `target`, if so."""
    if certificate.target == target:
        return certificate.unmet
    return (
        *certificate.unmet,
        f"a layer is certified against {certificate.target}, not {target}",
    )


def reasons(of_methods: Iterable[str], places: Sequence[Place]) -> tuple[str, ...]:
    """Return the methods' reasons, and what happened at the first place that has no bound."""
    found = list(of_methods)
    lost = next((place for place in places if not np.isfinite(place.bound).all()), None)
    if lost is not None and not is_finite(lost.value):
        name = _arrays.dtype_name(lost.value)
        found.append(f"{lost.name} exceeds what {name} holds: use smaller numbers, or float64")
    elif lost is not None and not found:
        found.append(
            f"no bound reaches {lost.name}: something before it overflows, a Custom map has no "
            "known constants, or the errors grow beyond what float64 holds"
        )
    return tuple(dict.fromkeys(found))


def is_finite(x: Array) -> bool:
    """Return whether no entry is NaN or infinite."""
    xp = _arrays.namespace(x=x)
    return bool(xp.all(xp.isfinite(x)))
