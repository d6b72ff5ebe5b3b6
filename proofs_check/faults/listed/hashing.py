"""Faults in hashing methods: collision probabilities, tables, concentration, YOSO and its gradients, BERT-LSH, LSHSoftmax."""

from __future__ import annotations

from proofs_check.faults.fault import fault

_YOSO_GRADIENT = ("hashing.slopes",)

FAULTS = (
    # closed forms
    fault("collision.half-angle", "factor", "hashing.collision", "return (1 - theta / math.pi) ** bits", "return (1 - theta / (2 * math.pi)) ** bits", "hashing.probabilities"),
    fault("collision.bits", "off-by-one", "hashing.collision", "return (1 - theta / math.pi) ** bits", "return (1 - theta / math.pi) ** (bits + 1)", "hashing.probabilities"),
    fault("collision.triple", "factor", "hashing.collision", "(theta_12 + theta_13 + theta_23) / (2 * math.pi)", "(theta_12 + theta_13 + theta_23) / math.pi", "hashing.probabilities"),
    fault("collision.modular", "wrong formula", "hashing.collision", "pattern + (1 - pattern) / table_size", "pattern + pattern / table_size", "hashing.probabilities"),
    fault("collision.union", "off-by-one", "hashing.collision", "return 1 - (1 - one_table) ** tables", "return 1 - (1 - one_table) ** (tables - 1)", "hashing.probabilities"),
    fault("collision.joint-sign", "sign", "hashing.collision", "(1 - one - other + both) ** tables", "(1 - one - other - both) ** tables", "hashing.probabilities"),
    fault("collision.covariance", "missing term", "hashing.collision", "return triple - p[..., :, None] * p[..., None, :]", "return triple", "hashing.probabilities"),
    fault("collision.mean-square", "wrong normaliser", "hashing.collision", "xp.sum(_covariance(q, k, bits, xp) * inner, axis=(-2, -1)) / hashes", "xp.sum(_covariance(q, k, bits, xp) * inner, axis=(-2, -1)) / hashes**2", "hashing.probabilities"),
    # concentration
    fault("concentration.hoeffding", "factor", "bounds.concentration", "math.log(2 * entries / delta) / 2 * concentration", "math.log(2 * entries / delta) / 8 * concentration", "hashing.concentration"),
    fault("concentration.union", "missing term", "bounds.concentration", "math.log(2 * entries / delta) / 2 * concentration", "math.log(2 / delta) / 2 * concentration", "hashing.concentration"),
    fault("concentration.blocks", "wrong formula", "bounds.concentration", "sum((size / hashes) ** 2 for size in blocks)", "sum((1 / hashes) ** 2 for size in blocks)", "hashing.concentration"),
    fault("concentration.bernstein", "factor", "bounds.concentration", "linear**2 + 2 * variance", "linear**2 + variance", "hashing.concentration"),
    fault("concentration.empirical", "wrong tail", "bounds.concentration", "width * (7 * log / (3 * (hashes - 1)))", "width * (7 * log / (3 * (hashes - 1) ** 2))", "hashing.concentration"),
    fault("concentration.hashes-needed", "factor", "bounds.concentration", "math.log(2 * entries / delta) / (2 * relative**2)", "math.log(2 * entries / delta) / (4 * relative**2)", "hashing.concentration"),
    # codes and tables
    fault("tables.missing-bit", "off-by-one", "methods.yoso.numpy_tables", "planes[:, :bits] = normals", "planes[:, : bits - 1] = normals[:, : bits - 1]", "hashing.samples"),
    fault("tables.offsets", "off-by-one", "methods.yoso.numpy_tables", "offsets = (np.arange(hashes) << bits)", "offsets = (np.arange(hashes) << (bits - 1))", "hashing.samples"),
    fault("tables.same-hash", "wrong seed use", "hashing.hyperplanes", "host = rng.standard_normal((hashes, bits, int(like.shape[-1])))", "host = rng.standard_normal((1, bits, int(like.shape[-1]))).repeat(hashes, 0)", "hashing.samples"),
    fault("tables.normals-not-centred", "wrong seed use", "hashing.hyperplanes", "host = rng.standard_normal((hashes, bits, int(like.shape[-1])))", "host = rng.random((hashes, bits, int(like.shape[-1])))", "hashing.samples"),
    fault("tables.mean", "wrong normaliser", "methods.yoso.numpy_tables", "mean = total / np.asarray(hashes, total.dtype)", "mean = total / np.asarray(hashes + 1, total.dtype)", "hashing.samples"),
    fault("tables.hidden-keys", "missing mask", "methods.yoso.yoso", "            values = xp.where(mask[..., None], values, xp.zeros_like(values))\n        entrywise", "        entrywise", "hashing.samples"),
    fault("tables.spread", "wrong normaliser", "methods.yoso.numpy_tables", "return mean, between / ((len(groups) - 1) * hashes)", "return mean, between / (len(groups) - 1)", "hashing.samples"),
    fault("hadamard.butterfly", "sign", "hashing.hadamard", "pairs[..., 0, :] - pairs[..., 1, :]", "pairs[..., 0, :] + pairs[..., 1, :]", "hashing.samples", "hashing.hadamard"),
    fault("hadamard.transpose", "wrong transpose", "hashing.hadamard", "    return rows.T", "    return rows", "hashing.hadamard"),
    # YOSO-E and gradients
    fault("yoso.near-pairs", "missing term", "methods.yoso.yoso_expectation", "np.max(widths, axis=-1)[..., None] + self._near(problem, near)", "np.max(widths, axis=-1)[..., None]", "code.yoso-expectation"),
    fault("yoso.causal", "off-by-one", "methods.yoso.yoso_expectation", "p, near = (xp.where(keep, x, xp.zeros_like(x)) for x in (p, near))", "near = xp.where(keep, near, xp.zeros_like(near))", "code.yoso-expectation"),
    fault("yoso.slope-power", "degree", "methods.yoso.angular_gradient", "r = (1 - theta / math.pi) ** (bits - 1)", "r = (1 - theta / math.pi) ** bits", *_YOSO_GRADIENT),
    fault("yoso.slope-sine", "wrong gradient term", "methods.yoso.angular_gradient", "bits_over_pi * r / s, xp.zeros_like(s)", "bits_over_pi * r, xp.zeros_like(s)", *_YOSO_GRADIENT),
    fault("yoso.radial", "wrong gradient term", "methods.yoso.angular_gradient", "sums.linear - sums.radial * unit_rows(rows, problem.xp)", "sums.linear", *_YOSO_GRADIENT),
    fault("yoso.surrogate", "factor", "methods.yoso.angular_gradient", "return Weights(bits / 2 * p,", "return Weights(bits * p,", *_YOSO_GRADIENT),
    fault("yoso.sampled-half", "factor", "methods.yoso.sampled_gradient", "half = int(normals.shape[1]) / 2", "half = int(normals.shape[1])", *_YOSO_GRADIENT),
    fault("yoso.sampled-dv", "wrong gradient term", "methods.yoso.sampled_gradient", "total = xp.broadcast_to(xp.sum(g, axis=0, keepdims=True), v.shape)", "total = xp.broadcast_to(xp.mean(g, axis=0, keepdims=True), v.shape)", *_YOSO_GRADIENT),
    fault("yoso.through-length", "wrong gradient term", "hashing.directions", "h = over_length(dout - xp.sum(dout * o, axis=-1, keepdims=True) * o, b, xp)", "h = over_length(dout, b, xp)", *_YOSO_GRADIENT),
    # BERT-LSH
    fault("bert.all-tables", "wrong formula", "methods.colliding_pairs.dense", "met = met | (q_codes[t", "met = met & (q_codes[t", "hashing.met"),
    fault("bert.mirror", "wrong transpose", "methods.colliding_pairs.dense", "return xp.where(upper, met, met_below), xp.where(upper, scores, below)", "return met, xp.where(upper, scores, below)", "hashing.met"),
    fault("bert.mirrored-scores", "wrong transpose", "methods.colliding_pairs.dense", "return xp.where(upper, met, met_below), xp.where(upper, scores, below)", "return xp.where(upper, met, met_below), scores", "hashing.met"),
    fault("bert.table-size", "off-by-one", "hashing.hyperplanes", "dtype=xp.int64) % table_size", "dtype=xp.int64) % (table_size + 1)", "hashing.met"),
    fault("bert.coefficients", "wrong seed use", "methods.colliding_pairs.bert_lsh", "rng.integers(0, self.table_size, (self.tables, self.bits))", "rng.integers(0, 2, (self.tables, self.bits))", "hashing.met"),
    fault("bert.oscillation", "missing term", "methods.colliding_pairs.weight_change", "tv_from_log_ratio(high - low +", "tv_from_log_ratio(high +", "code.bert-lsh"),
    fault("bert.dropped", "wrong formula", "methods.colliding_pairs.weight_change", "xp.where(met, xp.zeros_like(weights), weights)", "xp.where(met, weights, xp.zeros_like(weights))", "code.bert-lsh"),
    fault("bert.gradient-met", "wrong gradient term", "methods.colliding_pairs.dense_gradient", "        p = xp.where(rows.met, p, xp.zeros_like(p))\n", "", "hashing.slopes"),
    fault("bert.gradient-mirror", "scale", "methods.colliding_pairs.dense_gradient", "k[..., first:last, :]) * problem.scale\n            dk_below", "k[..., first:last, :])\n            dk_below", "hashing.slopes"),
    # LSHSoftmax
    fault("lsh.weight-sign", "sign", "methods.colliding_pairs.lsh_softmax", "return _arrays.cast(-xp.log(kept), problem.dtype, xp)", "return _arrays.cast(xp.log(kept), problem.dtype, xp)", "hashing.inverse-probabilities"),
    fault("lsh.one-table", "missing term", "methods.colliding_pairs.lsh_softmax", "-xp.expm1(self.tables * xp.log1p(", "-xp.expm1(xp.log1p(", "hashing.inverse-probabilities"),
    fault("lsh.moved", "missing term", "methods.colliding_pairs.output", "np.where(some, dropped + (1 - dropped) * moved,", "np.where(some, dropped,", "code.lsh-softmax"),
    fault("lsh.uniform-rows", "factor", "methods.colliding_pairs.output", "tv_from_log_ratio(2 * bound))", "tv_from_log_ratio(bound / 2))", "code.lsh-softmax"),
    fault("lsh.causal", "missing mask", "methods.colliding_pairs.pairs", "        if causal:\n            rows, keys =", "        if causal and n_k < 0:\n            rows, keys =", "code.lsh-softmax"),
)  # fmt: skip
