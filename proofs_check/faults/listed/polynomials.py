"""Faults in polynomial attention: the polynomials, the sums over features, the gradients, the states, the fit, and attention over pairs of keys."""

from __future__ import annotations

from proofs_check.faults.fault import fault

_VALUE = ("polynomial.forward", "polynomial.both-ways", "code.polynomial-taylor", "code.polynomial-minimax")
_GRADIENT = ("polynomial.slopes", "code.gradient-polynomial")

FAULTS = (
    # polynomials for exp
    fault("taylor.factorial", "degree", "exponential.taylor", "1 / math.factorial(t) for t", "1 / math.factorial(t + 1) for t", "exponential.bounds"),
    fault("taylor.negative-tail", "wrong tail", "exponential.taylor", "(math.log1p(eps) + below)", "math.log1p(eps)", "exponential.bounds", "code.polynomial-taylor"),
    fault("taylor.positive-tail", "wrong tail", "exponential.taylor", "(math.log1p(eps) + below)", "below", "exponential.bounds", "code.polynomial-taylor"),
    fault("taylor.series-start", "off-by-one", "exponential.taylor", "lambda m: degree + 1 + m", "lambda m: degree + 2 + m", "exponential.bounds"),
    fault("taylor.slope-error", "missing term", "exponential.taylor", "np.exp(power + b - math.lgamma", "np.exp(power - math.lgamma", "exponential.bounds"),
    fault("minimax.artanh-factor", "factor", "exponential.minimax", "2 * math.atanh(error)", "math.atanh(error)", "exponential.bounds", "code.polynomial-minimax"),
    fault("minimax.interval-down", "rounding", "exponential.minimax", "math.ceil(_GRID *", "math.floor(_GRID *", "exponential.bounds"),
    fault("minimax.slope-of-largest", "off-by-one", "exponential.minimax", "w = [(t + 1) * d - c", "w = [t * d - c", "exponential.bounds"),
    fault("minimax.end-points", "missing term", "exponential.minimax", "largest = max(abs(_error(p, -b)), abs(_error(p, b)))", "largest = Decimal(0)", "exponential.bounds"),
    fault("chebyshev.constant-term", "factor", "exponential.chebyshev", "(2 if k else 1) * bessel(k, wide)", "2 * bessel(k, wide)", "exponential.bounds"),
    fault("chebyshev.first-omitted", "wrong tail", "exponential.chebyshev", "    k = degree\n", "    k = degree + 1\n", "exponential.bounds"),
    fault("chebyshev.recurrence-sign", "sign", "exponential.chebyshev", "* s - p for s, p in", "* s + p for s, p in", "exponential.bounds"),
    fault("degree.one-too-low", "degree", "exponential.degree", "return low * step", "return max(0, low - 1) * step", "exponential.degrees"),
    fault("degree.odd-step", "degree", "exponential.degree", "_settled(middle * step, half_range", "_settled(middle * step - step, half_range", "exponential.degrees"),
    fault("polynomial.antiderivative", "off-by-one", "exponential.polynomial", "c / (t + 1) for t", "c / (t + 2) for t", "code.gradient-polynomial"),
    # sums over features
    fault("features.multiplicity", "wrong formula", "monomials.index", "blocks[-1][tail] * t / power", "blocks[-1][tail] * t", *_VALUE),
    fault("features.suffix", "off-by-one", "monomials.index", "power = np.where((lead[tail] == i) & (run[tail] > 0), run[tail] + 1, 1)", "power = np.where((lead[tail] == i) & (run[tail] > 1), run[tail] + 1, 1)", *_VALUE),
    fault("features.top-sign", "sign", "monomials.numpy_contraction", "for block in blocks:\n                    total += block", "for block in blocks:\n                    total -= block", *_VALUE),
    fault("features.tile-coordinate", "wrong formula", "monomials.numpy_features", "np.multiply(held.rows[piece.source], held.columns[piece.i]", "np.multiply(held.rows[piece.source], held.columns[0]", *_VALUE),
    fault("features.chunk-overwrites", "missing term", "monomials.numpy_contraction", "        state += product", "        state[...] = product", *_VALUE),
    fault("features.causal-diagonal", "off-by-one", "monomials.numpy_dense", "np.tri(block, dtype=dtype)", "np.tri(block, k=-1, dtype=dtype)", *_VALUE),
    fault("scores.tril", "off-by-one", "monomials.dense", "xp.tril(w, k=first - start)", "xp.tril(w, k=first - start - 1)", "code.polynomial-taylor"),
    fault("scores.derivative", "degree", "monomials.dense", "tuple(t * c for t, c in enumerate(coefficients))[1:]", "tuple((t + 1) * c for t, c in enumerate(coefficients))[1:]", *_GRADIENT),
    fault("scores.horner-radix", "scale", "monomials.dense", "y = x * 2.0**-e", "y = x * 2.0**e", "code.polynomial-taylor"),
    fault("generic.causal-state", "missing term", "monomials.contraction", "out.append(own if state is None else own + _query(x[chunk, :], state, degree, xp))", "out.append(own)", "polynomial.generic"),
    fault("generic.weights", "missing term", "monomials.contraction", "coefficients)[degrees(d, degree)] * multiplicities(d, degree)", "coefficients)[degrees(d, degree)]", "polynomial.generic"),
    fault("generic.pull-back", "wrong gradient term", "monomials.adjoint", "xp.sum(part * tail, axis=0, keepdims=True)", "xp.sum(part, axis=0, keepdims=True)", "polynomial.generic"),
    fault("kernel.causal-not-flipped", "wrong transpose", "monomials.kernel", "        if not self.causal:\n            return f(*arrays)", "        if self.xp is not None:\n            return f(*arrays)", *_GRADIENT),
    fault("adjoint.first-degree", "degree", "monomials.numpy_adjoint", "        if self.degree > 1:\n            gradient +=", "        if self.degree > 2:\n            gradient +=", *_GRADIENT),
    fault("adjoint.top-cotangent", "missing term", "monomials.numpy_adjoint", "            above *= self.held.columns[i]\n", "", *_GRADIENT),
    # forward and gradient
    fault("forward.balance", "scale", "methods.polynomials.forward", " * problem.scale * balance, ", " * problem.scale, ", *_VALUE),
    fault("forward.mask", "missing mask", "methods.polynomials.forward", "return xp.where(problem.key_mask[..., None], values, xp.zeros_like(values))", "return values", *_VALUE),
    fault("forward.weight-noise", "rounding", "methods.polynomials.forward", "gamma(roundings, self.problem.u) * absolute", "0 * absolute", "polynomial.rounding"),
    fault("gradient.kappa", "sign", "methods.polynomials.gradient", "left = xp.concat([dout, -kappa], axis=-1)", "left = xp.concat([dout, kappa], axis=-1)", *_GRADIENT),
    fault("gradient.primitive", "wrong gradient term", "methods.polynomials.gradient", 'run.polynomial.antiderivative() if kind == "plug-in"', 'run.polynomial.antiderivative() if kind == "neither"', *_GRADIENT),
    fault("gradient.mean-of-dk", "missing term", "methods.polynomials.gradient", "dk = dk - ", "dk = dk - 0 * ", *_GRADIENT),
    fault("gradient.dq-scale", "scale", "methods.polynomials.gradient", " = dq * run.balance * problem.scale, ", " = dq * run.balance, ", *_GRADIENT),
    fault("gradient.hidden-keys", "missing mask", "methods.polynomials.gradient", "dk, dv = xp.where(keep, dk, xp.zeros_like(dk)), xp.where(keep, dv, xp.zeros_like(dv))", "dk, dv = dk, dv", *_GRADIENT),
    fault("gradient.weighted-truncation", "factor", "methods.polynomials.gradient", "np.expm1(log_ratio), np.finfo", "np.expm1(log_ratio) / 64, np.finfo", *_GRADIENT),
    # queries centred, a weight for every key, scores bounded in turned coordinates
    fault("centring.weights", "factor", "methods.polynomials.centring", "np.exp(shown)[..., None]", "np.exp(shown / 2)[..., None]", *_VALUE),
    fault("centring.sign", "sign", "methods.polynomials.centring", "shifted = queries - mean", "shifted = queries + mean", *_VALUE),
    fault("centring.dk-pull", "wrong gradient term", "methods.polynomials.gradient", "dk + pull * run.scores.middle, dv * weights", "dk, dv * weights", *_GRADIENT),
    fault("centring.dv-weights", "missing term", "methods.polynomials.gradient", "dk + pull * run.scores.middle, dv * weights", "dk + pull * run.scores.middle, dv", *_GRADIENT),
    fault("centring.mean-query", "wrong gradient term", "methods.polynomials.gradient", 'if kind == "consistent" else dq', 'if kind == "plug-in" else dq', *_GRADIENT),
    fault("metric.transpose", "wrong transpose", "methods.polynomials.metric", "xp.matmul(queries, xp.matrix_transpose(s))", "xp.matmul(queries, s)", "code.polynomial-taylor"),
    fault("metric.scale", "scale", "methods.polynomials.metric", "turned = up(problem.scale * (q * k", "turned = up(problem.scale**2 * (q * k", "code.polynomial-taylor"),
    # states
    fault("state.merge-sums", "missing term", "methods.polynomials.state", "sums=self.sums + other.sums", "sums=self.sums", "polynomial.state"),
    fault("state.merge-radius", "missing term", "methods.polynomials.state", "radius=np.maximum(self.radius, other.radius)", "radius=self.radius", "polynomial.state"),
    fault("state.merge-low", "wrong tail", "methods.polynomials.state", "low=np.minimum(self.low, other.low)", "low=np.maximum(self.low, other.low)", "polynomial.state"),
    fault("state.half-range", "missing term", "methods.polynomials.state", "inside = bound <= p.half_range", "inside = bound <= np.inf", "polynomial.state"),
    fault("state.scale", "scale", "methods.polynomials.state", "        x = problem.q * self.scale\n", "        x = problem.q\n", "polynomial.state"),
    # the fit to data
    fault("fit.centred-queries", "missing term", "methods.polynomials.fit", "queries=(q - middle) * problem.scale", "queries=q * problem.scale", "fitted.converges"),
    fault("fit.weights-sign", "sign", "methods.polynomials.fit", "slope = problem.scale * xp.sum(keys * middle", "slope = -problem.scale * xp.sum(keys * middle", "fitted.converges"),
    fault("fit.error-sign", "sign", "methods.polynomials.fit", "xp.matmul(term, v) - xp.sum(term, axis=-1, keepdims=True) * output", "xp.matmul(term, v) + xp.sum(term, axis=-1, keepdims=True) * output", "fitted.converges"),
    fault("fit.power", "degree", "methods.polynomials.fit", "float(c) / size**t for t", "float(c) / size**(2 * t) for t", "fitted.converges"),
    fault("fit.clip", "wrong tail", "methods.polynomials.fitted_polynomial", "value=xp.minimum(xp.maximum(output, low), high),", "value=output,", "fitted.laws"),
    # attention over pairs of keys
    fault("tensor.scale", "scale", "methods.polynomials.tensor_attention", "beta = 1.0 / q.shape[-1] if scale", "beta = 1.0 / q.shape[-1] ** 0.5 if scale", "tensor.value"),
    fault("tensor.multiplicity", "wrong formula", "methods.polynomials.tensor_attention", "return states(problem.k, values, ones, xp) / xp.astype(multiplicity, problem.k.dtype)", "return states(problem.k, values, ones, xp)", "tensor.value"),
    fault("tensor.score-bound", "missing term", "methods.polynomials.tensor_attention", "(sides[0] * sides[1])[..., None]", "sides[0][..., None]", "tensor.value"),
    fault("tensor.corners", "wrong tail", "methods.polynomials.tensor_attention", "np.min(corners, axis=0) - slack", "np.max(corners, axis=0) - slack", "tensor.value"),
)  # fmt: skip
