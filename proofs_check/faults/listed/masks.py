"""Faults in masks: order, windows, segments, rows without keys, biases, and how they are split."""

from __future__ import annotations

from proofs_check.faults.fault import Fault, fault

_EXACT = "tests/masks/test_masks_exact.py"
_FUNCTIONS = "tests/masks/test_bias_functions.py"
_METHODS = "tests/masks/test_masks_methods.py -k 'taylor-4 or exact'"
_INPUT = "tests/masks/test_masks_input.py"
_JUDGED = "tests/masks/test_masks_judged.py -k audit"

# Lists read best one fault below the other, in the same form.
FAULTS: tuple[Fault, ...] = (
    fault("masks.offset-sign", "sign", "_problem.visible", "Visibility.band",
        "low = None if before is None else self.offset - before",
        "low = None if before is None else -self.offset - before", _EXACT),
    fault("masks.window-narrow", "off-by-one", "_problem.visible", "limits_of",
        "np.clip(rows + high + 1, 0, n_k)", "np.clip(rows + high, 0, n_k)", _JUDGED),
    fault("masks.band-low", "off-by-one", "softmax.scores", "visible_block",
        "rows + low <= keys", "rows + low < keys", _EXACT),
    fault("masks.blocks-too-late", "missing term", "softmax.streaming", "key_blocks",
        "least = 0 if low is None else min(max(first + low, 0), stop - 1)",
        "least = 0 if low is None else min(max(first + low + KEY_BLOCK, 0), stop - 1)", _EXACT),
    fault("masks.empty-is-nan", "missing check", "softmax.streaming", "stream",
        "empty = denominator == 0", "empty = denominator < 0", _EXACT),
    fault("masks.empty-not-zero", "missing check", "attend.forward", "_without",
        "return xp.where(gone, xp.full_like(x, instead), x)", "return x", _EXACT),
    fault("masks.unseen-keys-shown", "leak", "_problem.visible", "without_unseen",
        "if np.all(seen.seen_keys):", "if True:", _INPUT),
    fault("masks.prefix-short", "off-by-one", "attend.pieces", "_of_run",
        "start = min(max(0, f - o), n)", "start = min(max(0, f - o + 1), n)", _METHODS),
    fault("masks.full-too-early", "off-by-one", "attend.pieces", "_of_run",
        "full = min(max(m - o, start), n)", "full = min(max(m - o - 1, start), n)", _METHODS),
    fault("masks.groups-not-sorted-back", "wrong transpose", "attend.problems", "regrouped",
        "np.argsort(order, kind='stable')", "np.arange(order.size)", _METHODS),
    fault("masks.failures-not-added", "wrong tail", "attend.reasons", "joint_failure",
        "certificate.failure * count", "certificate.failure",
        "tests/masks/test_masks_methods.py -k segments_are"),
    fault("masks.copies-forgotten", "wrong gradient term", "attend.padded", "last_gradients",
        "first = xp.sum(upto, axis=-2, keepdims=True)", "first = upto[..., -1:, :]",
        "tests/masks/test_masks_methods.py -k last_queries"),
    fault("masks.parts-not-added", "missing term", "attend.gradient", "_sum",
        "return _Part(first, a + b,", "return _Part(first, a,",
        "tests/masks/test_masks_methods.py -k last_queries", _EXACT),
    fault("masks.bias-not-cut", "off-by-one", "_problem.bias", "ArrayBias.block",
        "x[..., keys[0]:keys[1]]", "x[..., : keys[1] - keys[0]]", _EXACT),
    fault("masks.bias-size", "missing term", "bounds.scores", "score_bound",
        "up(sizes + of_bias)", "sizes", _EXACT, _FUNCTIONS),
    fault("masks.function-offset", "off-by-one", "_problem.positions", "_evaluated",
        "(rows + offset)[:, None]", "rows[:, None]", _FUNCTIONS),
    fault("masks.function-rows-of-pieces", "off-by-one", "_problem.positions",
        "FunctionBias.pieces", "self.at(rows + first, keys + start)",
        "self.at(rows, keys + start)", _FUNCTIONS),
    fault("masks.function-rows-chosen", "off-by-one", "_problem.positions", "FunctionBias.rows",
        "self.at(numbers[rows], keys)", "self.at(rows, keys)", _FUNCTIONS),
    fault("masks.function-sizes", "wrong formula", "_problem.positions", "_sizes_of_function",
        "np.maximum(part, _arrays.to_float64(found), out=part)",
        "np.minimum(part, _arrays.to_float64(found), out=part)", _FUNCTIONS),
    fault("masks.function-hides", "missing check", "_problem.positions", "_sizes_of_function",
        "hides = hides or not bool(xp.all(finite))", "hides = False", _FUNCTIONS),
    fault("masks.alibi-far-end", "missing term", "_problem.positions", "ALiBi.largest",
        "np.maximum(np.abs(rows), np.abs(rows - (n_k - 1)))", "np.abs(rows - (n_k - 1))",
        _FUNCTIONS),
    fault("masks.audit-of-pairs", "missing mask", "softmax.rows", "Item.everyone",
        "given.bias is None and", "", _JUDGED),
)  # fmt: skip
