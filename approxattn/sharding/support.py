"""Which methods can be taken in blocks of tokens, and why the others cannot: one table, which
refusals quote and docs/distributed.md prints.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from approxattn.methods.sharded import GradientShardable, Shardable


class Support(NamedTuple):
    """Why a method has no such form in blocks; empty where it has."""

    output: str = ""
    causal: str = ""
    gradient: str = ""
    causal_gradient: str = ""

    def why_not(self, *, gradient: bool, causal: bool) -> str:
        """Return the reason; that without a mask comes first."""
        pair = self[2:] if gradient else self[:2]
        return pair[0] or (pair[1] if causal else "")


def _none(why: str) -> Support:
    return Support(why, why, why, why)


def _no_gradient(causal: str = "") -> Support:
    return Support("", causal, _NO_GRADIENT, causal or _NO_GRADIENT)


_NO_GRADIENT = "its gradient in blocks is not built; use approxattn.attention_vjp"
_PAIRS = "it looks for pairs of tokens, which may lie in any two blocks; use Polynomial(...)"

TABLE = {
    "Exact": Support(),
    "Polynomial": Support(),
    "Performer": _no_gradient(),
    "Linformer": _no_gradient("its combinations mix earlier keys with later ones"),
    "Nystrom": _no_gradient("its landmarks mix earlier tokens with later ones"),
    "Yoso": _no_gradient("its tables hold the sum over all keys; use Performer(...)"),
    "YosoExpectation": _none("it takes all pairs of tokens; use Yoso(...)"),
    "Clustered": _none("its blocks are of keys that are alike, wherever they are; use Linformer"),
    "FittedLinformer": _none("its combinations are fitted to all keys at once; use Linformer"),
    "FittedPolynomial": _none("it is fitted to the scores of all pairs; use Polynomial(...)"),
    "SelectedSummaries": _no_gradient(),
    "BertLSH": _none(_PAIRS),
    "LSHSoftmax": _none(_PAIRS),
}
"""The package's methods by name."""


def why_not(method: Any, *, gradient: bool, causal: bool) -> str:
    """Return why a method cannot be taken in blocks; empty where it can."""
    kind = type(method)
    known = TABLE.get(kind.__name__) if kind.__module__.startswith("approxattn.") else None
    return (known or _of_other(method)).why_not(gradient=gradient, causal=causal)


def _of_other(method: Any) -> Support:
    """Return what a method of somebody else says of itself."""
    output = "" if isinstance(method, Shardable) else "it has no `shards`; use Polynomial(...)"
    back = "it has no `gradient_shards`; use Polynomial(...)"
    back = "" if isinstance(method, GradientShardable) else back
    return Support(output, method.why_not_causal, back, method.why_not_causal)


def printed() -> str:
    """Return the table in Markdown: yes, or the number of a reason below."""
    reasons = list(dict.fromkeys(why for support in TABLE.values() for why in support if why))
    rows = ["| method | output | causal | gradient | causal gradient |", "|---|---|---|---|---|"]
    for name, support in TABLE.items():
        cells = ["yes" if not why else f"no ({reasons.index(why) + 1})" for why in support]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*rows, "", *(f"{i}. No: {why}." for i, why in enumerate(reasons, 1))])
