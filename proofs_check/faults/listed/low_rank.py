"""Faults in sketched and random-feature methods: sketches and their moments, Linformer, the fitted values, Nystrom, Performer."""

from __future__ import annotations

from proofs_check.faults.fault import fault

_SLOPES = ("low-rank.slopes",)

FAULTS = (
    # sketches
    fault("sketch.gaussian", "wrong normaliser", "sketching.dense", "rng.standard_normal((n, k)).T / np.sqrt(k)", "rng.standard_normal((n, k)).T / k", "sketching.moments"),
    fault("sketch.rademacher", "sign", "sketching.dense", "2.0 * rng.integers(0, 2, (n, k)).T - 1", "2.0 * rng.integers(0, 2, (n, k)).T", "sketching.moments"),
    fault("sketch.sparse", "wrong normaliser", "sketching.dense", "np.sqrt(spread / k)", "np.sqrt(1 / k)", "sketching.moments"),
    fault("sketch.count-signs", "sign", "sketching.hashed", "signs=2.0 * (draws % 2) - 1", "signs=0.0 * draws + 1", "sketching.moments"),
    fault("sketch.hadamard-length", "wrong normaliser", "sketching.hashed", "return gather(mixed, self.rows) * self.rows.size**-0.5", "return gather(mixed, self.rows) * self.length**-0.5", "sketching.moments"),
    fault("sketch.weighted-rows", "wrong normaliser", "sketching.sampling", "weights=(k * probabilities[index]) ** -0.5", "weights=(k * probabilities[index]) ** -1.0", "sketching.moments"),
    fault("sketch.kurtosis", "wrong formula", "sketching.moments", "(mu - 3) * float(", "(mu - 1) * float(", "sketching.moments"),
    fault("sketch.product-sign", "sign", "sketching.moments", "* np.sum(rows)) + product +", "* np.sum(rows)) - product +", "sketching.moments"),
    fault("sketch.without-replacement", "off-by-one", "sketching.moments", "(length - k) / max(1, length - 1)", "(length - k) / max(1, length)", "sketching.moments"),
    fault("sketch.rows-mean", "missing term", "sketching.moments", "(float(np.sum(both[both > 0] / q[both > 0])) - product) / k", "float(np.sum(both[both > 0] / q[both > 0])) / k", "sketching.moments"),
    fault("sketch.adjoint", "wrong transpose", "sketching.hashed", "return gather(y, self.buckets) * self._signs(y)", "return gather(y, self.buckets)", "sketching.adjoints"),
    # Linformer
    fault("linformer.share", "missing term", "methods.low_rank.linformer", "up(np.exp(bound) * math.sqrt(log_union / (2 * rank)))", "up(math.sqrt(log_union / (2 * rank)))", "low-rank.row-sample", "code.linformer-row-sample"),
    fault("linformer.block-sizes", "missing term", "methods.low_rank.combinations", "logs = np.log(np.maximum(counts, 1)).astype", "logs = np.zeros(counts.shape).astype", "code.linformer-mean-pool"),
    fault("linformer.eta-halved", "factor", "methods.low_rank.pooling_bounds", "tv_from_score_error(eta + 4 * u * log_top)", "tv_from_score_error(eta / 2 + 4 * u * log_top)", "code.linformer-mean-pool"),
    fault("linformer.block-mean", "wrong normaliser", "sketching.pooling", "xp.sum(self._blocks(x, 0.0), axis=-2) / size", "xp.sum(self._blocks(x, 0.0), axis=-2) / (size + 1)", "code.linformer-mean-pool"),
    fault("linformer.block-edges", "off-by-one", "sketching.pooling", "edges = np.arange(blocks + 1) * count[..., None] // blocks", "edges = np.arange(blocks + 1) * (count[..., None] - 1) // blocks", "code.linformer-mean-pool"),
    fault("linformer.block-share", "wrong normaliser", "sketching.pooling", "share = (shown / np.take_along_axis", "share = (shown / 2 / np.take_along_axis", *_SLOPES),
    fault("linformer.inside-blocks", "missing term", "methods.low_rank.pooling_bounds", "inside = up(spread * (count - 1) / count**2)", "inside = up(0 * spread * (count - 1) / count**2)", "gradients.certified"),
    fault("linformer.dq-radius", "missing term", "methods.low_rank.pooling_bounds", "truncation.dq + problem.scale * omega / 2 * radius + rounding.dq", "truncation.dq + rounding.dq", "gradients.certified"),
    fault("linformer.max-place", "wrong gradient term", "sketching.pooling", "first = xp.argmax(filled", "first = xp.argmin(filled", *_SLOPES),
    fault("linformer.kernel-flipped", "wrong transpose", "sketching.pooling", "spread = y[..., None, :] * self._weights(y)", "spread = y[..., None, :] * self._weights(y)[::-1, :]", *_SLOPES),
    fault("linformer.factors", "factor", "methods.low_rank.combinations", "dk = _back(self.keys, dkeys * self.factors[0], problem.k)", "dk = _back(self.keys, dkeys * self.factors[1], problem.k)", *_SLOPES),
    fault("linformer.dF", "wrong gradient term", "methods.low_rank.linformer", "combined.values.gradient(dvalues, problem.v)", "combined.values.gradient(dvalues, problem.v * 0.5)", *_SLOPES),
    fault("linformer.bias-column", "scale", "softmax.biased", "xp.matrix_transpose(bias) / (problem.scale * c)", "xp.matrix_transpose(bias) / c", *_SLOPES),
    fault("linformer.hidden-keys", "missing mask", "methods.low_rank.combinations", "        keys, values = (xp.where(keep, x, xp.zeros_like(x)) for x in (keys, values))\n", "", "low-rank.masks"),
    # fitted values
    fault("fitted.ridge", "sign", "methods.low_rank.fitted_linformer", "+ self.ridge / blocks * size * eye", "- 1e3 * self.ridge / blocks * size * eye", "fitted.converges"),
    fault("fitted.correction-sign", "sign", "methods.low_rank.fitted_linformer", "v=reduced.problem.v + fit.correction", "v=reduced.problem.v - fit.correction", "fitted.converges"),
    fault("fitted.trace", "wrong gradient term", "methods.low_rank.fitted_linformer", " - 2 * self.ridge / blocks * trace * fit.weights", "", *_SLOPES),
    fault("fitted.softmax-mean", "wrong gradient term", "methods.low_rank.fitted_linformer", "ds = fit.weights * (dw - xp.sum(fit.weights * dw, axis=-1, keepdims=True)) * problem.scale", "ds = fit.weights * dw * problem.scale", *_SLOPES),
    # Nystrom
    fault("nystrom.polynomial", "wrong formula", "methods.low_rank.pseudo_inverse", "15 * eye - xp.matmul(m, 7 * eye - m)", "15 * eye - xp.matmul(m, 6 * eye - m)", "low-rank.converges"),
    fault("nystrom.scale", "scale", "methods.low_rank.nystrom", "scores = xp.matmul(q * problem.scale, xp.matrix_transpose(k))", "scores = xp.matmul(q, xp.matrix_transpose(k))", "low-rank.converges"),
    fault("nystrom.inner-sign", "sign", "methods.low_rank.pseudo_inverse", "xp.matmul(d_middle, t(inner)) - d_inner", "xp.matmul(d_middle, t(inner)) + d_inner", *_SLOPES),
    fault("nystrom.start", "missing term", "methods.low_rank.pseudo_inverse", "slope = widest / columns + longest / rows", "slope = widest / columns + 0 * longest", *_SLOPES),
    fault("nystrom.jacobian", "wrong gradient term", "methods.low_rank.nystrom", "ds = marks.a * (da - xp.sum(marks.a * da, axis=-1, keepdims=True)) * problem.scale", "ds = marks.a * da * problem.scale", *_SLOPES),
    fault("nystrom.centre", "sign", "methods.low_rank.nystrom", "dv = dv + rest * _shares(problem)", "dv = dv - rest * _shares(problem)", *_SLOPES),
    fault("nystrom.skew", "wrong transpose", "methods.low_rank.pseudo_inverse", "skew * (e - turned) / 2", "skew * (e + turned) / 2", *_SLOPES),
    # Performer
    fault("performer.norm-halved", "factor", "methods.random_features.features", "xp.sum(y * y, axis=-1, keepdims=True) / 2", "xp.sum(y * y, axis=-1, keepdims=True)", "low-rank.converges"),
    fault("performer.rotation", "wrong seed use", "methods.random_features.features", "return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))", "return np.asarray(q)", "low-rank.variance"),
    fault("performer.lengths", "wrong formula", "methods.random_features.features", "lengths = np.linalg.norm(rng.standard_normal(normal.shape), axis=1, keepdims=True)", "lengths = np.full((len(normal), 1), np.sqrt(d / 2))", "low-rank.variance"),
    fault("performer.hyperbolic-half", "sign", "methods.random_features.features", "np.concatenate([normal, -normal]) if", "np.concatenate([normal, normal]) if", "low-rank.variance"),
    fault("performer.variance", "factor", "methods.random_features.features", "one = np.expm1(squared_norm)", "one = np.expm1(squared_norm / 2)", "low-rank.variance"),
    fault("performer.hyperbolic-variance", "factor", "methods.random_features.features", "return up(one * -np.expm1(-squared_norm) / features)", "return up(one * -np.expm1(-squared_norm) / (2 * features))", "low-rank.variance"),
    fault("performer.scale", "scale", "methods.random_features.features", "x = problem.q[..., first:last, :] * problem.scale**0.5", "x = problem.q[..., first:last, :] * problem.scale", "low-rank.converges"),
    fault("performer.key-gradient", "wrong gradient term", "methods.random_features.gradient", " - xp.sum(dh, axis=-1, keepdims=True) * y", "", *_SLOPES),
    fault("performer.causal-diagonal", "off-by-one", "methods.random_features.sums", "sums = xp.matmul(xp.tril(scores), values)", "sums = xp.matmul(xp.tril(scores, k=-1), values)", "low-rank.prefix"),
    fault("performer.chunks", "missing term", "methods.random_features.sums", "sums = sums + state.sums * xp.matrix_transpose(xp.exp(state.top - shift))", "sums = sums + state.sums", "low-rank.prefix"),
    fault("performer.later-queries", "wrong tail", "methods.random_features.gradient", "later = _add_queries(problem, w, seen, left, later, start, end)", "later = _add_queries(problem, w, seen, left, None, start, end)", *_SLOPES),
)  # fmt: skip
