"""Faults in exact attention, masks, what all methods share, and the audit."""

from __future__ import annotations

from proofs_check.faults.fault import fault

_ALL = ("code.exact", "code.polynomial-taylor", "code.bert-lsh")

FAULTS = (
    # exact attention by streaming, and its gradient
    fault("softmax.shrink-sign", "sign", "softmax.streaming", "shrink = xp.exp(top - finite_top)", "shrink = xp.exp(finite_top - top)", "exact.long"),
    fault("softmax.denominator-not-shrunk", "missing term", "softmax.streaming", "denominator * shrink + mass", "denominator + mass", "exact.long"),
    fault("softmax.weights-not-shifted", "missing term", "softmax.streaming", "weights = xp.exp(scores - finite_top)", "weights = xp.exp(scores - block_top)", "exact.long"),
    fault("softmax.kappa-sign", "sign", "softmax.streaming", "p = f * (z - kappa)", "p = f * (z + kappa)", "kit.exact", "code.gradient-exact"),
    fault("softmax.kappa-missing", "wrong gradient term", "softmax.streaming", "p = f * (z - kappa)", "p = f * z", "code.gradient-exact"),
    fault("softmax.dq-scale", "scale", "softmax.streaming", "part = xp.matmul(p, problem.k[..., start:end, :]) * problem.scale", "part = xp.matmul(p, problem.k[..., start:end, :])", "code.gradient-exact"),
    fault("softmax.dv-weights", "wrong gradient term", "softmax.streaming", "xp.matmul(xp.matrix_transpose(f), g), problem)", "xp.matmul(xp.matrix_transpose(p), g), problem)", "kit.exact", "code.gradient-exact"),
    fault("scores.causal-strict", "off-by-one", "softmax.scores", "past = rows[:, None] >= keys[None, :]", "past = rows[:, None] > keys[None, :]", "kit.exact", "code.exact"),
    fault("scores.causal-forgets-mask", "missing mask", "softmax.scores", "keep = past if keep is None else keep & past", "keep = past", "code.exact"),
    fault("scores.float64-roundoff", "rounding", "bounds.softmax", "    u = problem.u\n    eta =", "    u = 2.0**-53\n    eta =", "code.exact"),
    fault("scores.sums-not-bounded", "rounding", "bounds.softmax", "spread.osc) + sums)", "spread.osc))", "code.exact"),
    fault("problem.scale", "scale", "_problem", "return 1.0 / math.sqrt(d)", "return 1.0 / d", "kit.exact", "code.exact"),
    fault("problem.visible-keys", "off-by-one", "_problem", "np.asarray(np.cumsum(mask, axis=-1))", "np.asarray(np.cumsum(mask, axis=-1) - 1)", "code.lsh-softmax", "code.polynomial-taylor"),
    fault("attend.narrow-rounding", "rounding", "attend", "up(rows + 2 * u * size + 2 *", "up(rows + 2 *", "calls.float16"),
    fault("attend.broadcast-mean", "wrong normaliser", "attend", "value = problem.xp.sum(value, axis=axes, keepdims=True)", "value = problem.xp.mean(value, axis=axes, keepdims=True)", "calls.broadcast"),
    # what an error in the weights does
    fault("perturbation.tanh-factor", "factor", "bounds.perturbation", "dtype=np.float64) / 4))", "dtype=np.float64) / 8))", *_ALL),
    fault("perturbation.score-error-halved", "factor", "bounds.perturbation", "tv_from_log_ratio(2 * np.asarray(eta", "tv_from_log_ratio(np.asarray(eta", "code.linformer-mean-pool"),
    fault("perturbation.osc-halved", "factor", "bounds.perturbation", "up(np.minimum(tv, 1.0) * value_osc", "up(np.minimum(tv, 0.5) * value_osc", *_ALL),
    fault("rounding.gamma-squared", "rounding", "bounds.rounding", "return k * u / (1 - k * u)", "return k * u * u / (1 - k * u)", "code.exact"),
    fault("rounding.up-is-down", "rounding", "bounds.rounding", "(1 + 64 * 2.0**-53) + 2.0**-1060", "(1 - 64 * 2.0**-53)", "code.bert-lsh", "code.linformer-row-sample", "code.exact"),
    fault("bounds.scale-squared", "scale", "bounds.scores", "up(problem.scale * row_norms(problem.q, problem.xp) * radius", "up(problem.scale**2 * row_norms(problem.q, problem.xp) * radius", "code.lsh-softmax", "code.linformer-row-sample"),
    fault("bounds.mean-key", "wrong formula", "bounds.scores", "return np.asarray(np.max(per_key, axis=-1))", "return np.asarray(np.mean(per_key, axis=-1))", "code.polynomial-taylor"),
    fault("bounds.osc-from-top", "missing term", "bounds.scores", "up(np.max(top - bottom, axis=-1))", "up(np.max(top, axis=-1))", *_ALL),
    fault("bounds.width-is-largest", "wrong formula", "bounds.scores", "sums = _arrays.to_host(xp.sum(size, axis=-2))", "sums = _arrays.to_host(xp.max(size, axis=-2))", "code.yoso", "hashing.samples"),
    fault("value-range.nearest-end", "wrong tail", "bounds.values", "worst = xp.maximum(xp.max(value", "worst = xp.minimum(xp.max(value", "code.nystrom"),
    # certificates of gradients
    fault("gradient-bounds.dq-truncation", "missing term", "bounds.gradients", "_times(beta * key_norm, truncation + noise)", "_times(beta * key_norm, noise)", "code.gradient-polynomial"),
    fault("gradient-bounds.dk-truncation", "missing term", "bounds.gradients", "_times(query_norm, truncation / 2 + noise)", "_times(query_norm, noise)", "code.gradient-polynomial", "gradients.certified"),
    fault("gradient-bounds.dv-tv", "missing term", "bounds.gradients", "(tv_from_log_ratio(log_ratio) + weight_noise) * size", "weight_noise * size", "code.gradient-polynomial", "gradients.certified"),
    fault("gradient-bounds.no-rounding", "rounding", "bounds.gradients", "weight_noise=up(sums + 0 * bound), pair_noise=up(pair)", "weight_noise=up(0 * bound), pair_noise=up(0 * pair)", "code.gradient-exact"),
    # the audit
    fault("audit.exceeding-population", "wrong normaliser", "audit", "math.log1p(-self.confidence) / self.errors.size", "math.log1p(-self.confidence) / self.population", "audit.coverage"),
    fault("audit.no-rounding", "rounding", "audit", "* (1 + 2.0**-50) + rounding)", "* (1 + 2.0**-50))", "audit.errors"),
    fault("audit.causal-strict", "off-by-one", "softmax.rows", "past = _arrays.from_host(rows, part.q)[:, None] >= numbers[None, :]", "past = _arrays.from_host(rows, part.q)[:, None] > numbers[None, :]", "audit.errors"),
    fault("audit.scale", "scale", "softmax.rows", "masked_scores(part, part.q * part.scale, 0, 0, part.n_k)", "masked_scores(part, part.q, 0, 0, part.n_k)", "audit.errors"),
    fault("audit.merged-squares", "degree", "softmax.rows", "a.squares * x**2 + b.squares * y**2", "a.squares * x + b.squares * y", "audit.errors"),
    fault("audit.merged-mass", "sign", "softmax.rows", "x, y = xp.exp(a.top - finite), xp.exp(b.top - finite)", "x, y = xp.exp(finite - a.top), xp.exp(b.top - finite)", "audit.errors"),
    fault("audit.with-replacement", "wrong seed use", "softmax.rows", "rng.choice(population, rows, replace=False)", "rng.choice(population, rows, replace=True)", "audit.coverage"),
    fault("audit.marked", "off-by-one", "bounds.order_statistics", "math.ceil(_decimal(fraction) * rows) - 1", "math.ceil(_decimal(fraction) * rows) - 2", "audit.coverage"),
    fault("audit.level-doubled", "wrong tail", "bounds.order_statistics", "if tail > allowed:", "if tail > 2 * allowed:", "audit.coverage"),
    fault("audit.strata", "wrong formula", "softmax.rows", "effective=total.mass**2 / total.squares", "effective=total.mass / total.squares", "audit.errors"),
)  # fmt: skip
