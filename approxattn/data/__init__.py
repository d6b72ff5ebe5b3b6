"""Attention inputs that ship with the package: eight heads of a real model, see the file NOTICE
beside this one.
"""

from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt

__all__ = ["Heads", "minilm_heads"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Heads:
    """Queries, keys and values of several attention heads on one text.

    Attributes
    ----------
    q, k, v : numpy.ndarray of float32, shape (layers, heads, n, d)
        Read-only. Attention is softmax(q k^T / sqrt(d)) v: nothing is scaled yet.
    layers, heads : tuple of int
        The model's own numbers of the layers and heads along the first two axes.
    description : str
        Where the numbers come from, in one sentence.
    """

    q: npt.NDArray[np.float32]
    k: npt.NDArray[np.float32]
    v: npt.NDArray[np.float32]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    description: str


def minilm_heads() -> Heads:
    """Load eight heads of sentence-transformers/all-MiniLM-L6-v2 on the text of the CC0-1.0 legal
    code.

    Returns
    -------
    Heads
        Four layers, two heads each, n = 256 tokens, d = 32, float32. Each call returns fresh
        arrays.

    Notes
    -----
    The 256 tokens are the beginning of a 512-token input, cut after the model's layers saw all of
    it. Source: the model's published weights; ``examples/extract_minilm.py`` remakes the file.

    Examples
    --------
    >>> heads = minilm_heads()
    >>> heads.q.shape, heads.layers, heads.heads
    ((4, 2, 256, 32), (0, 1, 3, 5), (0, 5))
    >>> scores = heads.q[2, 0] @ heads.k[2, 0].T / 32**0.5     # layer 3, head 0
    >>> print(f"{abs(scores).max():.1f}")                      # far outside bounded entries
    13.9
    """
    with (
        as_file(files(__package__) / "minilm_heads.npz") as path,
        np.load(path, allow_pickle=False) as stored,
    ):
        arrays = {name: stored[name] for name in ("q", "k", "v")}
        layers = tuple(int(i) for i in stored["layers"])
        heads = tuple(int(i) for i in stored["heads"])
    for array in arrays.values():
        array.flags.writeable = False
    return Heads(
        **arrays,
        layers=layers,
        heads=heads,
        description=(
            "queries, keys and values of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) on "
            "the first tokens of the CC0-1.0 legal code, before the division by sqrt(32)"
        ),
    )
