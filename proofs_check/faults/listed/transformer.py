"""Faults in transformers: activations, token maps, attention layers, their gradients and their certificates."""

from __future__ import annotations

from proofs_check.faults.fault import fault

_VALUE = ("transformer.value",)
_GRADIENT = ("transformer.slopes",)
_CERTIFICATE = ("transformer.scores", "transformer.certificates")

FAULTS = (
    # values
    fault("gelu.clenshaw", "sign", "transformer.activations", "here, before = s * here - before + c, here", "here, before = s * here + before + c, here", *_VALUE),
    fault("norm.epsilon", "missing term", "transformer.norm", "xp.sqrt(xp.mean(c * c, axis=-1, keepdims=True) + self.epsilon)", "xp.sqrt(xp.mean(c * c, axis=-1, keepdims=True))", *_VALUE),
    fault("norm.population", "off-by-one", "transformer.norm", "s = xp.sqrt(xp.mean(c * c, axis=-1, keepdims=True) + self.epsilon)", "s = xp.sqrt(xp.sum(c * c, axis=-1, keepdims=True) / (c.shape[-1] - 1) + self.epsilon)", *_VALUE),
    fault("heads.beside", "wrong transpose", "transformer.self_attention", "xp.reshape(xp.moveaxis(heads, -3, -2), (*batch, n, count * width))", "xp.reshape(heads, (*batch, n, count * width))", *_VALUE),
    fault("heads.mask", "missing mask", "transformer.self_attention", "out = attention(q, k, v, method, scale=self.scale, causal=self.causal, key_mask=mask, rng=rng)", "out = attention(q, k, v, method, scale=self.scale, causal=self.causal, rng=rng)", *_VALUE),
    fault("heads.bias", "missing term", "transformer.self_attention", "return _plus(q, self.bq), _plus(k, self.bk)", "return q, _plus(k, self.bk)", *_VALUE),
    fault("layer.residual", "missing term", "transformer.forward", "z = x + y if layer.residual else y", "z = u + y if layer.residual else y", *_VALUE),
    fault("embedding.positions", "off-by-one", "transformer.linear", "rows + self.positions[: x.shape[-1], :]", "rows + self.positions[-x.shape[-1] :, :]", *_VALUE),
    # gradients
    fault("gelu.slope", "wrong gradient term", "transformer.activations", "normal_distribution(x, xp) + x * xp.exp", "normal_distribution(x, xp) + xp.exp", *_GRADIENT),
    fault("silu.slope", "sign", "transformer.activations", "return s * (1 + x * (1 - s))", "return s * (1 + x * s)", *_GRADIENT),
    fault("tanh.slope", "degree", "transformer.activations", "return 1 - t * t", "return 1 - t", *_GRADIENT),
    fault("norm.vjp-variance", "wrong gradient term", "transformer.norm", " - unit * xp.mean(h * unit, axis=-1, keepdims=True)) / s", ") / s", *_GRADIENT),
    fault("norm.vjp-mean", "wrong gradient term", "transformer.norm", "h - xp.mean(h, axis=-1, keepdims=True) -", "h -", *_GRADIENT),
    fault("norm.gain", "wrong gradient term", "transformer.norm", "gain=total_over_tokens(dout * unit, xp)", "gain=total_over_tokens(dout * x, xp)", *_GRADIENT),
    fault("mlp.w2", "wrong gradient term", "transformer.mlp", "w2=outer_total(phi.value(a, xp), dout, xp)", "w2=outer_total(a, dout, xp)", *_GRADIENT),
    fault("linear.w", "wrong transpose", "transformer.affine", "return xp.matmul(xp.matrix_transpose(x), g)", "return xp.matmul(xp.matrix_transpose(x[::-1, :]), g)", *_GRADIENT),
    fault("residual.vjp", "missing term", "transformer.token_map", "return dout + pulled.dx, type(self)(maps=pulled.gradients)", "return pulled.dx, type(self)(maps=pulled.gradients)", *_GRADIENT),
    fault("layer.vjp-residual", "missing term", "transformer.gradient", "dx = dx + then.dx if layer.residual else dx", "dx = dx", *_GRADIENT),
    fault("heads.joint", "missing term", "transformer.self_attention", "du = du + xp.sum(grads.dk, axis=-3) if self.wk is None else du", "du = du + 0", *_GRADIENT),
    fault("heads.wk", "wrong gradient term", "transformer.self_attention", "_per_head(lambda g: outer_total(u, g, xp), grads.dk, xp)", "_per_head(lambda g: outer_total(u, g, xp), grads.dq, xp)", *_GRADIENT),
    fault("heads.wo", "wrong gradient term", "transformer.self_attention", "outer_total(beside(run.out), dout, xp)", "outer_total(beside(run.v), dout, xp)", *_GRADIENT),
    fault("heads.vjp-mask", "missing mask", "transformer.self_attention", "run.q, run.k, run.v, dheads, method, scale=self.scale, causal=self.causal, key_mask=mask, rng=rng", "run.q, run.k, run.v, dheads, method, scale=self.scale, causal=self.causal, rng=rng", *_GRADIENT),
    fault("embedding.vjp-positions", "wrong normaliser", "transformer.linear", "used = xp.sum(xp.reshape(dout, (-1, n, dout.shape[-1])), axis=0)", "used = xp.mean(xp.reshape(dout, (-1, n, dout.shape[-1])), axis=0)", *_GRADIENT),
    # certificates
    fault("errors.linear", "missing term", "transformer.linear", "bounded(spectral(self.w) * delta + affine_rounding(norms(x, xp), self.w, self.b))", "bounded(affine_rounding(norms(x, xp), self.w, self.b))", *_CERTIFICATE),
    fault("errors.mlp", "missing term", "transformer.mlp", "bounded(spectral(self.w2) * hidden.after_row + rounding)", "bounded(rounding)", *_CERTIFICATE),
    fault("errors.mlp-slope", "factor", "transformer.mlp", "entry, bounded(slope * row + own), slope)", "entry, bounded(slope * row / 16 + own), slope)", *_CERTIFICATE),
    fault("errors.norm", "wrong normaliser", "transformer.norm", "bounded(top * local.moved / local.scale + rounding)", "bounded(top * local.moved * local.scale + rounding)", *_CERTIFICATE),
    fault("errors.method", "missing term", "transformer.attention_error", "heads = bounded(mixed + turned + method)\n    out = _combined(weights, run, mixed, turned + method,", "heads = bounded(mixed + turned)\n    out = _combined(weights, run, mixed, turned,", *_CERTIFICATE),
    fault("errors.scores", "missing term", "transformer.attention_error", "turned, key_spread, value_spread = 2 * tv_from_log_ratio(log_ratio) * radius", "turned, key_spread, value_spread = 0 * tv_from_log_ratio(log_ratio) * radius", *_CERTIFICATE),
    fault("errors.residual", "missing term", "transformer.forward", "bounded(delta + attention.out + roundoff", "bounded(delta + roundoff", *_CERTIFICATE),
    fault("errors.heads-gradient", "missing term", "transformer.attention_error", "for r, w in zip(rows, widths, strict=True)", "for r, w in zip([0 * r for r in rows], widths, strict=True)", *_CERTIFICATE),
    fault("errors.loss", "missing term", "transformer.gradient", "bound = bound + weighed + total * np.max(eps, axis=-1)", "bound = bound + total * np.max(eps, axis=-1)", *_CERTIFICATE),
    fault("errors.total", "missing term", "transformer.gradient", "total = bounded(total + after.total + roundoff(dx)", "total = bounded(after.total + roundoff(dx)", *_CERTIFICATE),
    fault("errors.weight-gradient", "missing term", "transformer.affine", "bounded(np.sum(with_total) + np.sum(delta * g_norms) + rounding)", "bounded(rounding)", *_CERTIFICATE),
)  # fmt: skip
