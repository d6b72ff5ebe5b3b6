"""What the certificates of pieces say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from approxattn.certificate import Certificate, GradientCertificate


def common(words: Iterable[str], otherwise: str) -> str:
    """Return the different words in their order, joined by " + "."""
    return " + ".join(dict.fromkeys(words)) or otherwise


def joint_failure(found: Sequence[tuple[Certificate | GradientCertificate, int]]) -> float:
    """Return the probability that a bound of one leading index fails, given the certificates and
    how many pieces of an index each stands for: it fails when one of its pieces does.
    """
    return float(sum(certificate.failure * count for certificate, count in found))


def reasons(certificates: Sequence[Certificate | GradientCertificate]) -> tuple[str, ...]:
    """Return all reasons once."""
    return tuple(dict.fromkeys(why for c in certificates for why in c.unmet))


def shared_facts(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts that all pieces have, the largest where they are numbers, and how many
    problems were computed.
    """
    if len(facts) == 1:
        return dict(facts[0])
    found: dict[str, Any] = {"pieces": len(facts)}
    for name in facts[0] if facts else ():
        values = [f[name] for f in facts if name in f]
        if len(values) < len(facts):
            continue
        if all(isinstance(x, int | float | np.number | np.ndarray) for x in values):
            found[name] = max((np.max(x, initial=0) for x in values), default=0)
            found[name] = found[name].item() if hasattr(found[name], "item") else found[name]
        elif all(x == values[0] for x in values):
            found[name] = values[0]
    return found
