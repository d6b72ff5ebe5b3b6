"""Sources that are no paper: what is proved here, and what our own code is claimed to do."""

from __future__ import annotations

import functools
import importlib.metadata

from proofs_check.statements.theorem import Source

__all__ = ["here", "our_code"]


def here(module: str, *also: str, how: str = "") -> Source:
    """Source of a statement that is proved here, so that no path is typed by hand.

    Parameters
    ----------
    module : str
        ``__name__`` of the file whose comments hold the derivation.
    *also : str
        Further modules that hold a part of it, by their dotted names.
    how : str
        The derivation in a few words, where the statement follows from another one.

    Returns
    -------
    Source
        With the path of every module in its place.
    """
    files = " and ".join(f"{name.replace('.', '/')}.py" for name in (module, *also))
    place = f"{how}, in {files}" if how else f"comments of {files}"
    return Source(citation="proved here", place=place, fidelity="ours")


def our_code(place: str) -> Source:
    """Source of a claim about the code of approxattn, the version read from the package.

    Parameters
    ----------
    place : str
        Which part of the code the claim is about.
    """
    citation = f"approxattn {_version()} (2026), a claim about its code"
    return Source(citation=citation, place=place, fidelity="ours")


@functools.cache
def _version() -> str:
    """Major and minor number: a patch changes no claim."""
    return ".".join(importlib.metadata.version("approxattn").split(".")[:2])
