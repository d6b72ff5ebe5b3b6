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
        plainly, masked = (
            (self.gradient, self.causal_gradient) if gradient else (self.output, self.causal)
        )
        return plainly or (masked if causal else "")


def _none(why: str) -> Support:
    return Support(why, why, why, why)


_PAIRS = "it works on pairs of tokens that any two blocks may hold; use Polynomial(...)"
_UNBOUNDED = (
    "nobody knows a bound on its gradient; use Polynomial(...), whose gradient has one, or "
    "approxattn.attention_vjp"
)

TABLE = {
    "Exact": Support(),
    "Polynomial": Support(
        causal_gradient="it would scan the queries backwards, which is not built; use "
        "approxattn.attention_vjp"
    ),
    "Performer": Support("", "", _UNBOUNDED, _UNBOUNDED),
    "Linformer": Support(
        "", "its combinations mix earlier keys with later ones", _UNBOUNDED, _UNBOUNDED
    ),
    "Nystrom": Support(
        "", "its landmarks mix earlier tokens with later ones", _UNBOUNDED, _UNBOUNDED
    ),
    "Yoso": Support(
        "",
        "a table for each block of queries would be needed",
        "its sampled gradient takes a table for each column of q and k; use "
        "approxattn.attention_vjp",
        "it has no causal form",
    ),
    "YosoExpectation": _none("it takes all pairs of tokens; use Yoso(...)"),
    "Clustered": _none("its tree splits all keys along one direction after another; use Linformer"),
    "FittedLinformer": _none("its combinations are fitted to all tokens at once; use Linformer"),
    "FittedPolynomial": _none("it is fitted to the scores of one call; use Polynomial(...)"),
    "SelectedSummaries": _none(
        "each query reads the chunks that it selects, wherever they are; use Polynomial(...)"
    ),
    "BertLSH": _none(_PAIRS),
    "LSHSoftmax": _none(_PAIRS),
}
"""The package's methods by name."""


def why_not(method: Any, *, gradient: bool, causal: bool) -> str:
    """Return why a method cannot be taken in blocks; empty where it can."""
    name = type(method).__name__
    known = TABLE.get(name) if type(method).__module__.startswith("approxattn.") else None
    return (known or _of_other(method)).why_not(gradient=gradient, causal=causal)


def _of_other(method: Any) -> Support:
    """Return what a method of somebody else says of itself."""
    output = "" if isinstance(method, Shardable) else "it has no `shards`; use Polynomial(...)"
    back = "it has no `gradient_shards`; use Polynomial(...)"
    back = "" if isinstance(method, GradientShardable) else back
    return Support(output, method.why_not_causal, back, method.why_not_causal)


def printed() -> str:
    """Return the table in Markdown."""
    rows = ["| method | output | causal | gradient | causal gradient |", "|---|---|---|---|---|"]
    notes: list[str] = []
    for name, support in TABLE.items():
        cells = [_cell(why, notes) for why in support]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(
        [*rows, "", *(f"{i}. {why[0].upper()}{why[1:]}." for i, why in enumerate(notes, 1))]
    )


def _cell(why: str, notes: list[str]) -> str:
    if not why:
        return "yes"
    if why not in notes:
        notes.append(why)
    return f"no ({notes.index(why) + 1})"
