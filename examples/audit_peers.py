"""The attention of other packages, examined by the kit of `proofs_check`: what held, what did not,
and what is a choice of theirs.

    python examples/audit_peers.py                       # every package that is installed
    python examples/audit_peers.py nystrom --full        # the subjects whose name contains the
        word, with all findings
    python examples/audit_peers.py --markdown            # the table of docs/kit.md

Each adapter turns what a package offers into a function of q, k, v of shape (batch, heads, n, d),
with weights that pass q, k and v through its linear maps unchanged. torch is needed; a package that
is not installed is skipped by name. Failures that a package documents or that its method implies
are listed with the reason and do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from proofs_check.kit import Examination, check_attention

torch: Any = None  # imported when the program starts: --help needs none of it

_SHIFT = "features of the shifted keys differ by more than a factor"
_NEIGHBOURS = "landmarks are means of neighbours"
_UNTRAINED = "its projections of the sequence are meant to be trained; here they are as drawn"


# --- adapters -------------------------------------------------------------------------------------

_NO_SHIFT = {"shift of keys": "a polynomial of shifted scores is no multiple of that of the scores"}


def sdpa(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
    mask = None if key_mask is None else key_mask[None, :]
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal
    )


@cache
def _fast_attention(d: int, features: int, causal: bool) -> Any:
    from performer_pytorch import FastAttention

    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that its CUDA code is missing
        return FastAttention(d, nb_features=features, causal=causal)


def performer(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    return _fast_attention(q.shape[-1], 64, causal)(q, k, v)


def performer_module(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    from performer_pytorch.performer_pytorch import Attention

    d = q.shape[-1]
    torch.manual_seed(0)
    module = Attention(3 * d, heads=1, dim_head=d, nb_features=64)
    x = _joined(q, k, v)
    module.to_q, module.to_k, module.to_v = (_columns(i * d, (i + 1) * d) for i in range(3))
    module.to_out = torch.nn.Identity()
    return _parted(module(x, mask=_batched(key_mask, x)), v)


def nystrom(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    from nystrom_attention import NystromAttention

    d = q.shape[-1]
    module = NystromAttention(3 * d, dim_head=d, heads=1, num_landmarks=2, residual=False)
    module.to_qkv = module.to_out = torch.nn.Identity()
    x = _joined(q, k, v)
    return _parted(module(x, mask=_batched(key_mask, x)), v)


def nystrom_masked(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    return nystrom(
        q,
        k,
        v,
        key_mask=torch.ones(k.shape[-2], dtype=torch.bool) if key_mask is None else key_mask,
    )


def taylor(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    from taylor_series_linear_attention import TaylorSeriesLinearAttn

    d = q.shape[-1]
    module = TaylorSeriesLinearAttn(3 * d, dim_head=d, heads=1, combine_heads=False)
    module.to_q[0], module.to_kv[0] = _columns(0, d), _columns(d, 3 * d)
    x = _joined(q, k, v)
    return _parted(module(x, mask=_batched(key_mask, x)), v)


def linformer(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
    from linformer import LinformerSelfAttention

    d = q.shape[-1]
    torch.manual_seed(0)
    module = LinformerSelfAttention(3 * d, seq_len=64, k=4, heads=1, dim_head=d).to(q.dtype)
    module.to_q, module.to_k, module.to_v = (_columns(i * d, (i + 1) * d) for i in range(3))
    module.to_out = torch.nn.Identity()
    x = _joined(q, k, v)
    return _parted(module(x, mask=_batched(key_mask, x)), v)


def sata(terms: int) -> Callable[..., Any]:
    def attention(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
        from sata_attention import SymmetryAwareTaylorApproximatedAttention

        module = SymmetryAwareTaylorApproximatedAttention(
            q.shape[-1], v.shape[-1], causal, n_taylor=terms
        )
        return module.to(q.dtype)(q, k, v)

    attention.__qualname__ = f"sata({terms})"
    return attention


def _joined(q: Any, k: Any, v: Any) -> Any:
    """One sequence of tokens (batch, n, 3d): queries, keys, and values with zeros for the columns
    that they lack.
    """
    wide = torch.nn.functional.pad(v, (0, q.shape[-1] - v.shape[-1]))
    return torch.cat([x.reshape(-1, *x.shape[-2:]) for x in (q, k, wide)], dim=-1)


def _columns(start: int, stop: int) -> Any:
    """A layer that takes columns out, in the place of a linear map (whose zeros would spread a
    NaN).
    """

    class Columns(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x[..., start:stop].clone()

    return Columns()


def _parted(out: Any, v: Any) -> Any:
    return out.reshape(*v.shape[:-2], *out.shape[-2:])[..., : v.shape[-1]]


def _batched(key_mask: Any, x: Any) -> Any:
    return None if key_mask is None else key_mask.expand(x.shape[0], -1)


# --- subjects -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One function of a package, and what it does not claim."""

    package: str
    what: str
    function: Callable[..., Any]
    exact: bool = False
    square: bool = False
    sizes: tuple[int, ...] | None = None
    by_design: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """Of the package; None when it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "source" if importlib.util.find_spec(self.package.replace("-", "_")) else None

    def examine(self) -> Examination:
        """Examine it, gradients by automatic differentiation included."""
        return check_attention(
            self.function,
            framework="torch",
            leading=2,
            exact=self.exact,
            square=self.square,
            sizes=self.sizes,
            gradient="autograd",
            by_design=self.by_design,
        )


def peers() -> Iterator[Peer]:
    """Yield all subjects."""
    yield Peer(package="torch", what="scaled_dot_product_attention", function=sdpa, exact=True)
    yield Peer(
        package="performer-pytorch",
        what="FastAttention, 64 features",
        function=performer,
        by_design={"shift of keys": _SHIFT},
    )
    yield Peer(
        package="performer-pytorch",
        what="Attention with `mask`",
        function=performer_module,
        square=True,
        by_design={"shift of keys": _SHIFT},
    )
    for what, function in (
        ("2 landmarks", nystrom),
        ("2 landmarks, always with `mask`", nystrom_masked),
    ):
        yield Peer(
            package="nystrom-attention",
            what=f"NystromAttention, {what}",
            function=function,
            square=True,
            by_design={
                "order of keys": _NEIGHBOURS,
                "order of queries": _NEIGHBOURS,
                "queries are independent": "landmarks are means of queries too",
                "every key twice": _NEIGHBOURS,
                "output among the values": "entries of F A+ B may be negative",
                "masked keys": "masked tokens keep their places among the neighbours",
            },
        )
    yield Peer(
        package="taylor-series-linear-attention",
        what="TaylorSeriesLinearAttn (degree 2)",
        function=taylor,
        square=True,
        by_design=_NO_SHIFT,
    )
    yield Peer(
        package="linformer",
        what="LinformerSelfAttention, k = 4, untrained",
        function=linformer,
        square=True,
        sizes=(1, 2, 3, 5, 10, 16, 63, 64),  # as many as its projections have columns
        by_design=dict.fromkeys(
            (
                "accuracy in float64",
                "accuracy in float32",
                "order of keys",
                "shift of keys",
                "weights sum to one",
                "output among the values",
                "every key twice",
                "gradient dq",
                "gradient dk",
                "gradient dv",
            ),
            _UNTRAINED,
        ),
    )
    for terms in (4, 5):
        yield Peer(
            package="sata-attention",
            what=f"n_taylor = {terms} (degree {terms - 1})",
            function=sata(terms),
            by_design=_NO_SHIFT,
        )


# --- the program ----------------------------------------------------------------------------------


def row(peer: Peer, found: Examination) -> str:
    """One line of the table in Markdown."""
    failed = "; ".join(f"**{f.name}**: {f.detail}" for f in found.findings if f.held is False)
    chosen = ", ".join(
        f.name for f in found.findings if f.held is None and f.detail.startswith("by design")
    )
    held = sum(f.held is True for f in found.findings)
    asked = sum(f.held is not None for f in found.findings)
    return (
        f"| {peer.package} {peer.version}, {peer.what} | {held} of {asked} | {failed or '-'} | "
        f"{chosen or '-'} |"
    )


def main(arguments: list[str] | None = None) -> None:
    global torch  # the adapters are plain functions
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "word", nargs="?", default="", help="examine subjects whose package or name contains it"
    )
    parser.add_argument("--full", action="store_true", help="print every finding")
    parser.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    asked = parser.parse_args(arguments)
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        parser.exit(2, "torch is not installed, and all of these packages need it\n")
    warnings.simplefilter("ignore")  # theirs
    if asked.markdown:
        print("| subject | held | failed | by design |\n|---|---|---|---|")
    for peer in peers():
        if asked.word not in f"{peer.package} {peer.what}":
            continue
        if peer.version is None:
            print(f"skipped: {peer.package} is not installed")
            continue
        found = peer.examine()
        if asked.markdown:
            print(row(peer, found))
        else:
            shown = [
                f
                for f in found.findings
                if asked.full or f.held is False or f.detail.startswith("by design")
            ]
            print(f"{peer.package} {peer.version}, {peer.what}", *shown, sep="\n")


if __name__ == "__main__":
    main()
