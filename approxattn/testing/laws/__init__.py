"""Laws that every softmax attention obeys, and most approximations.

Each takes a `Subject` and a `Problem`, and returns a complaint, None, or NotImplemented where the
function has no such form.
"""

from __future__ import annotations

from collections.abc import Mapping

from approxattn.testing.laws.agreement import (
    agrees,
    agrees_in_float32,
    causal_agrees,
    masked_agrees,
)
from approxattn.testing.laws.gradient import NAMES, derivative
from approxattn.testing.laws.inputs import dtype_kept, no_queries, not_a_number, repeatable, shapes
from approxattn.testing.laws.masks import all_masked, causal, later_keys, masked, masked_contents
from approxattn.testing.laws.orders import beyond_window, offset, segments, window_agrees
from approxattn.testing.laws.shared import Law
from approxattn.testing.laws.symmetries import (
    batch,
    duplicates,
    hull,
    key_order,
    key_shift,
    linear,
    lone_queries,
    ones,
    query_order,
)

PLAIN: Mapping[str, Law] = {
    "agrees with softmax": agrees,
    "agrees with softmax in float32": agrees_in_float32,
}
"""Those in whose place `proofs_check` compares with balls."""

DERIVATIVES: Mapping[str, Law] = {
    f"{name} is the derivative": derivative(i) for i, name in enumerate(NAMES)
}
"""Those of a gradient."""

LAWS: Mapping[str, Law] = {
    **PLAIN,
    "order of keys": key_order,
    "order of queries": query_order,
    "shift of keys": key_shift,
    "linear in values": linear,
    "weights sum to one": ones,
    "output among the values": hull,
    "every key twice": duplicates,
    "queries are independent": lone_queries,
    "batch items are independent": batch,
    "repeatable": repeatable,
    "dtype is kept": dtype_kept,
    "NaN does not disappear": not_a_number,
    "shapes are checked": shapes,
    "no queries": no_queries,
    "causal": causal,
    "causal agrees with softmax": causal_agrees,
    "later keys": later_keys,
    "masked keys": masked,
    "key mask agrees with softmax": masked_agrees,
    "contents of masked keys": masked_contents,
    "all keys masked": all_masked,
    "query offset": offset,
    "window agrees with softmax": window_agrees,
    "keys beyond the window": beyond_window,
    "packed sequences": segments,
    **DERIVATIVES,
}
"""In the order of the table."""

__all__ = ["DERIVATIVES", "LAWS", "PLAIN", "Law"]
