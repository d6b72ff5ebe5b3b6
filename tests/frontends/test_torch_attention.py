"""`scaled_dot_product_attention` against torch's own: values, gradients, masks, refusals."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import TABLE

torch = pytest.importorskip("torch")
F = torch.nn.functional

import approxattn as aa  # noqa: E402 - after the skip
from approxattn.torch import (  # noqa: E402
    ExactFallbackWarning,
    record_calls,
    scaled_dot_product_attention,
)

EXACT = aa.Exact()
KINDS = [
    *["none", "keys", "causal", "causal keys", "bottom right", "upper left", "left padding"],
    *["window", "segments", "causal segments", "query rows", "pairs", "bias", "causal bias"],
]


def leaves(*shapes, dtype=torch.float64, seed=0, size=1.0):
    rng = torch.Generator().manual_seed(seed)
    return [
        (size * torch.randn(s, generator=rng, dtype=torch.float64)).to(dtype).requires_grad_()
        for s in shapes
    ]


@st.composite
def problems(draw):
    """Return q, k, v, the keywords of torch, and ours for the same problem."""
    kind = draw(st.sampled_from(KINDS))
    square = kind in ("left padding", "segments", "causal segments", "query rows")
    n_q = draw(st.integers(1, 9))
    n_k = n_q if square else draw(st.integers(1, 9))
    shared = draw(st.sampled_from([1, 2]))
    batch, heads, d = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 5))
    shapes = (batch, heads * shared, n_q, d), (batch, heads, n_k, d), (batch, heads, n_k, 3)
    q, k, v = leaves(*shapes, seed=draw(st.integers(0, 10**6)), size=draw(st.sampled_from([1, 5])))
    rng = torch.Generator().manual_seed(n_q + 10 * n_k)
    keys = torch.rand(batch, 1, n_k, generator=rng) < 0.7
    keys[..., 0] = True
    scale = draw(st.sampled_from([None, 0.3]))
    common = {"scale": scale, "enable_gqa": shared > 1}
    theirs, ours = _masks(kind, n_q, n_k, keys)
    return (q, k, v), {**theirs, **common}, {**ours, **common}


def _masks(kind: str, n_q: int, n_k: int, keys):
    tri = torch.ones(n_q, n_k, dtype=torch.bool).tril
    segments = torch.arange(n_k) // 3
    packed = torch.arange(n_q)[:, None] // 3 == segments
    pairs = torch.rand(n_q, n_k, generator=torch.Generator().manual_seed(n_q)) < 0.6
    bias = torch.linspace(-2, 2, n_q * n_k, dtype=torch.float64).reshape(n_q, n_k)
    apart = torch.arange(n_k) - torch.arange(n_q)[:, None]
    mask, ours = {
        "none": (None, {}),
        "keys": (keys[:, :, None], {"key_mask": keys}),
        "causal": (tri(), {"is_causal": True}),
        "causal keys": (tri() & keys[:, :, None], {"is_causal": True, "key_mask": keys}),
        "bottom right": (tri(n_k - n_q), {"is_causal": True, "query_offset": n_k - n_q}),
        "upper left": (tri(), {"is_causal": True}),
        "left padding": (
            tri() & (torch.arange(n_k) > 1),
            {"is_causal": True, "key_mask": torch.arange(n_k) > 1},
        ),
        "window": (
            (apart >= -2) & (apart <= 1),
            {"window": (2, 1)},
        ),
        "segments": (packed, {"segments": segments}),
        "causal segments": (
            tri() & packed,
            {"segments": segments, "is_causal": True},
        ),
        "pairs": (pairs, None),
        "bias": (bias, None),
        "causal bias": (bias.masked_fill(~tri(), -torch.inf), None),
        # padded queries see no key, and no argument says so
        "query rows": (keys[:, :, :n_q, None] & keys[:, :, None], None),
    }[kind]
    theirs = {} if mask is None else {"attn_mask": mask}
    return theirs, theirs if ours is None else ours


def _value_and_gradients(attend, inputs, keywords):
    out = attend(*inputs, **keywords)
    dout = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    return [out.detach(), *torch.autograd.grad(out, inputs, dout)]


def exact(*inputs, **keywords):
    return scaled_dot_product_attention(*inputs, method=EXACT, **keywords)


@given(problems())
def test_equal_to_torch_in_float64(problem) -> None:
    inputs, theirs, ours = problem
    wanted = _value_and_gradients(F.scaled_dot_product_attention, inputs, theirs)
    for keywords in (theirs, ours):  # as a mask to be read, and said in words
        found = _value_and_gradients(exact, inputs, keywords)
        for a, b in zip(found, wanted, strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * max(1.0, b.abs().max()))


@pytest.mark.parametrize("causal", [False, True])
def test_as_accurate_as_torch_on_average(causal: bool) -> None:
    errors = np.zeros(2)
    for seed in range(40):
        narrow = [x.detach() for x in leaves(*[(2, 60, 16)] * 3, dtype=torch.float32, seed=seed)]
        wide = (x.double() for x in narrow)
        right = F.scaled_dot_product_attention(*wide, is_causal=causal)
        errors += [
            float((f(*narrow, is_causal=causal).double() - right).abs().max())
            for f in (exact, F.scaled_dot_product_attention)
        ]
    assert errors[0] <= 2 * errors[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precisions_are_kept_and_certified(dtype) -> None:
    q, k, v = (x.detach() for x in leaves(*[(2, 3, 40, 8)] * 3, dtype=dtype))
    certificates: list = []
    out = exact(q, k, v, certificates=certificates)
    assert out.dtype is dtype
    right = F.scaled_dot_product_attention(*(x.double() for x in (q, k, v)))
    error = (out.double() - right).abs().amax(-1).numpy()
    own = (F.scaled_dot_product_attention(q, k, v).double() - right).abs().max()
    assert error.max() <= 2 * own
    assert (error <= certificates[0].rows).all()


def watched(monkeypatch: pytest.MonkeyPatch) -> list:
    """Return the list of the arrays that the core is called with from now on."""
    seen: list = []

    def attention(*given, **keywords):
        seen.append(given)
        return aa.attention(*given, **keywords)

    monkeypatch.setattr("approxattn.torch.calls.attention", attention)
    return seen


def test_cpu_tensors_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    x = torch.randn(2, 20, 3, 8)  # tokens before heads, as models have them
    q, k, v = (x + i for i in range(3))
    exact(*(y.transpose(1, 2) for y in (q, k, v)))
    assert [a.ctypes.data for a in seen[0][:3]] == [y.data_ptr() for y in (q, k, v)]


def test_shared_heads_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    q, k, v = leaves((2, 6, 5, 4), (2, 2, 7, 4), (2, 2, 7, 4))
    exact(q, k, v, enable_gqa=True)
    assert [a.shape for a in seen[0][:3]] == [(2, 2, 3, 5, 4), (2, 2, 1, 7, 4), (2, 2, 1, 7, 4)]


DIFFERENTIABLE = [row for row in TABLE if getattr(row.method, "gradient_of_output", False)]


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=str)
def test_gradients_are_those_of_the_output(row) -> None:
    inputs = leaves((2, 6, 3), (2, 6, 3), (2, 6, 2), seed=3, size=0.5)
    causal = not row.method.why_not_causal and "causal" not in row.exempt

    def attend(*x):
        return scaled_dot_product_attention(*x, is_causal=causal, method=row.method, seed=5)

    assert torch.autograd.gradcheck(attend, inputs, eps=1e-6, atol=2e-6)


@pytest.mark.parametrize("row", [row for row in TABLE if row not in DIFFERENTIABLE], ids=str)
def test_other_gradients_are_refused_unless_asked_for(row) -> None:
    q, k, v = leaves((2, 6, 3), (2, 6, 3), (2, 6, 2), size=0.5)
    with pytest.raises(ValueError, match="not that of its output"):
        scaled_dot_product_attention(q, k, v, method=row.method, seed=5)
    with torch.no_grad():
        scaled_dot_product_attention(q, k, v, method=row.method, seed=5)
    out = scaled_dot_product_attention(q, k, v, method=row.method, seed=5, gradient="method")
    dout = torch.ones_like(out)
    found = torch.autograd.grad(out, (q, k, v), dout)
    arrays = [x.detach().numpy() for x in (q, k, v, dout)]
    wanted = aa.attention_vjp(*arrays, row.method, rng=np.random.default_rng(5))
    for a, b in zip(found, (wanted.dq, wanted.dk, wanted.dv), strict=True):
        assert np.array_equal(a.numpy(), b)


def test_plug_in_gradients_are_refused() -> None:
    q, k, v = leaves(*[(6, 3)] * 3)
    with pytest.raises(ValueError, match="not that of its output"):
        scaled_dot_product_attention(q, k, v, method="Polynomial(degree=2, gradient='plug-in')")


def test_a_seed_repeats_the_draws_and_a_generator_makes_new_ones() -> None:
    q, k, v = (x.detach() for x in leaves(*[(6, 3)] * 3))
    method = aa.Performer(features=4)

    def attend(seed):
        return scaled_dot_product_attention(q, k, v, method=method, seed=seed)

    assert torch.equal(attend(3), attend(3))
    assert not torch.equal(attend(3), attend(4))
    rng = torch.Generator().manual_seed(0)
    assert not torch.equal(attend(rng), attend(rng))
    with pytest.raises(ValueError, match="pass seed"):
        attend(None)


def test_memory_of_the_tape_is_that_of_the_inputs() -> None:
    q, k, v = leaves(*[(4, 300, 8)] * 3)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        exact(q, k, v, is_causal=True)
    assert sum(x.numel() for x in saved) <= 3 * q.numel() + 8


def test_rows_without_keys_give_0_when_all_keys_are_there_for_others() -> None:
    q, k, v = leaves(*[(2, 5, 3)] * 3)
    some = torch.tensor([1, 1, 0, 1, 0], dtype=torch.bool)
    mask = some[:, None] & some
    found = _value_and_gradients(exact, (q, k, v), {"attn_mask": mask})
    wanted = _value_and_gradients(F.scaled_dot_product_attention, (q, k, v), {"attn_mask": mask})
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not found[0][:, ~some].any()


# --- what the method cannot do -------------------------------------------------------------------


def unsupported_calls():
    window = torch.ones(6, 6, dtype=torch.bool).tril() & ~torch.ones(6, 6, dtype=torch.bool).tril(
        -2
    )
    square = torch.eye(6, dtype=torch.bool) | torch.eye(6, dtype=torch.bool).flip(0)
    return {
        "no causal form": ("Clustered(heavy=2)", {"is_causal": True}, "causal=True with Clustered"),
        "pairs": ("Polynomial(degree=2)", {"attn_mask": square}, "never forms the scores"),
        "biases": (
            "Nystrom(landmarks=2)",
            {"attn_mask": torch.linspace(0, 1, 36).double().reshape(6, 6)},
            "biases",
        ),
        "a window": ("Polynomial(degree=2)", {"attn_mask": window}, "window"),
        "no gradient": ("FittedPolynomial(degree=2)", {}, "not that of its output"),
    }


@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float64).min])
def test_additive_masks(hidden: float) -> None:
    q, k, v = leaves(*[(2, 3, 6, 4)] * 3)
    shown = torch.ones(6, 6, dtype=torch.bool).tril()
    mask = torch.zeros(6, 6, dtype=q.dtype).masked_fill(~shown, hidden)
    found, wanted = (
        _value_and_gradients(f, (q, k, v), {"attn_mask": mask})
        for f in (exact, F.scaled_dot_product_attention)
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", unsupported_calls())
def test_refused_with_the_reason_or_computed_by_torch(case: str) -> None:
    method, keywords, reason = unsupported_calls()[case]
    inputs = leaves(*[(2, 3, 6, 4)] * 3)
    with pytest.raises(ValueError, match=reason):
        scaled_dot_product_attention(*inputs, method=method, **keywords)

    def fall_back(*x, **more):
        return scaled_dot_product_attention(*x, method=method, unsupported="exact", **more)

    with record_calls() as calls, pytest.warns(ExactFallbackWarning, match=reason):
        found = _value_and_gradients(fall_back, inputs, keywords)
    assert [(call.method, call.certificate) for call in calls] == [(method, None)]
    assert reason in calls[0].reason
    wanted = _value_and_gradients(F.scaled_dot_product_attention, inputs, keywords)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@given(problems())
@settings(max_examples=30)
def test_the_gradient_of_the_fallback_is_torchs(problem) -> None:
    from approxattn.torch.exact import exact_gradient

    inputs, theirs, _ = problem
    out, *wanted = _value_and_gradients(F.scaled_dot_product_attention, inputs, theirs)
    dout = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    q, k, v = (x.detach() for x in inputs)
    found = exact_gradient(q, k, v, dout, theirs.get("attn_mask"), theirs["scale"])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * max(1.0, b.abs().max()))


def test_a_nan_is_refused_or_goes_through_torch() -> None:
    q, k, v = leaves(*[(2, 3, 6, 4)] * 3)
    with torch.no_grad():
        q[0, 1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="q must be finite"):
        exact(q, k, v)
    with pytest.warns(ExactFallbackWarning, match="q must be finite"):
        found = _value_and_gradients(exact, (q, k, v), {"unsupported": "exact"})
    wanted = _value_and_gradients(F.scaled_dot_product_attention, (q, k, v), {})
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_dropout_is_refused_or_left_to_torch() -> None:
    q, k, v = leaves(*[(2, 6, 4)] * 3)
    with pytest.raises(ValueError, match="dropout_p"):
        exact(q, k, v, dropout_p=0.5)
    torch.manual_seed(0)
    with pytest.warns(ExactFallbackWarning, match="dropout_p"):
        found = exact(q, k, v, dropout_p=0.5, unsupported="exact")
    torch.manual_seed(0)
    assert torch.equal(found, F.scaled_dot_product_attention(q, k, v, dropout_p=0.5))


def test_a_learned_bias_is_not_left_without_its_gradient() -> None:
    q, k, v, bias = leaves(*[(2, 6, 4)] * 3, (2, 6, 6))
    with pytest.raises(ValueError, match="attn_mask requires a gradient"):
        exact(q, k, v, bias)
    with pytest.warns(ExactFallbackWarning, match="requires a gradient"):
        out = exact(q, k, v, bias, unsupported="exact")
    assert torch.autograd.grad(out.sum(), bias)[0].shape == bias.shape


def test_a_learned_projection_is_not_left_without_its_gradient() -> None:
    q, k, v, e = leaves(*[(6, 4)] * 3, (2, 6))
    method = aa.Linformer(key_projection=e)
    with pytest.raises(ValueError, match=r"key_projection.*requires a gradient"):
        scaled_dot_product_attention(q, k, v, method=method)
    given = aa.Linformer(key_projection=e.detach())
    out = scaled_dot_product_attention(q, k, v, method=given)
    assert torch.equal(out.detach(), aa.attention(q, k, v, given).value.detach())


def test_a_method_without_a_text_lives_until_backward() -> None:
    q, k, v, e = leaves(*[(6, 4)] * 3, (2, 6))
    out = scaled_dot_product_attention(
        q, k, v, method=aa.Linformer(key_projection=e.detach().clone())
    )
    gc.collect()
    method = aa.Linformer(key_projection=e.detach())
    wanted = torch.autograd.grad(aa.attention(q, k, v, method).value.sum(), (q, k, v))
    for a, b in zip(torch.autograd.grad(out.sum(), (q, k, v)), wanted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"attn_mask": torch.ones(6, 6, dtype=torch.bool), "is_causal": True}, "exclude each"),
        ({"unsupported": "perhaps"}, "unsupported"),
        ({"gradient": "mine"}, "gradient"),
        ({"method": "Nothing()"}, "names no method"),
        ({"scale": -1.0}, "scale"),
    ],
)
def test_refusals(keywords, message: str) -> None:
    q, k, v = (x.detach() for x in leaves(*[(2, 6, 4)] * 3))
    with pytest.raises(ValueError, match=message):
        scaled_dot_product_attention(q, k, v, **{"method": EXACT, **keywords})


def test_unequal_heads_need_enable_gqa() -> None:
    q, k, v = (x.detach() for x in leaves((4, 6, 4), (2, 6, 4), (2, 6, 4)))
    with pytest.raises(ValueError, match="enable_gqa"):
        exact(q, k, v)
    with pytest.raises(ValueError, match="a divisor"):
        exact(q[:3], k, v, enable_gqa=True)


def test_causal_bias_objects_of_torch() -> None:
    from torch.nn.attention.bias import causal_lower_right, causal_upper_left

    q, k, v = (x.detach() for x in leaves((2, 3, 4, 5), (2, 3, 7, 5), (2, 3, 7, 5)))
    for make in (causal_lower_right, causal_upper_left):
        wanted = F.scaled_dot_product_attention(q, k, v, make(4, 7)._materialize("cpu"))
        torch.testing.assert_close(exact(q, k, v, make(4, 7)), wanted)


def test_autocast_is_that_of_torch() -> None:
    q, k, v = (x.detach() for x in leaves(*[(2, 6, 4)] * 3, dtype=torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = exact(q, k, v), F.scaled_dot_product_attention(q, k, v)
    assert ours.dtype is theirs.dtype is torch.bfloat16


def test_inputs_are_never_written_to_and_layouts_do_not_matter() -> None:
    base = torch.randn(6, 5, 2, 4, dtype=torch.float64)
    q, k, v = (base.permute(2, 1, 0, 3), base.permute(2, 1, 0, 3) * 0.5, base.permute(2, 1, 0, 3))
    before = base.clone()
    found = exact(q, k, v)
    assert torch.equal(base, before)
    torch.testing.assert_close(found, exact(*(x.contiguous() for x in (q, k, v))), rtol=0, atol=0)
    found += 1  # the output is the caller's own
    assert torch.equal(base, before)


@pytest.mark.parametrize("n_q", [0, 1, 2])
@pytest.mark.parametrize("d", [1, 3])
def test_small_sizes(n_q: int, d: int) -> None:
    q, k, v = leaves((2, n_q, d), (2, 2, d), (2, 2, 3))
    out = exact(q, k, v)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v))
    assert torch.autograd.grad(out.sum(), k)[0].shape == k.shape


def test_certificates_hold() -> None:
    q, k, v = (x.detach() for x in leaves(*[(2, 3, 30, 4)] * 3))
    certificates: list = []
    out = scaled_dot_product_attention(
        q, k, v, method="Polynomial(degree=4)", is_causal=True, certificates=certificates
    )
    right = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert ((out - right).abs().amax(-1).numpy() <= certificates[0].rows).all()


def test_second_derivatives_are_refused() -> None:
    q, k, v = leaves(*[(2, 6, 4)] * 3)
    (dq,) = torch.autograd.grad(exact(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        dq.sum().backward()


def test_certificates_of_shared_heads_have_the_axes_of_the_output() -> None:
    q, k, v = (x.detach() for x in leaves((2, 6, 30, 4), (2, 2, 30, 4), (2, 2, 30, 4)))
    certificates: list = []
    method = aa.Polynomial(tolerance=0.5)
    out = scaled_dot_product_attention(
        q, k, v, method=method, enable_gqa=True, certificates=certificates
    )
    right = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    assert certificates[0].rows.shape == (2, 6, 30)
    assert certificates[0].promised.shape == (2, 6)
    assert ((out - right).abs().amax(-1).numpy() <= certificates[0].rows).all()


def test_without_a_certificate_the_value_and_its_gradient_are_the_same() -> None:
    q, k, v = (x.requires_grad_() for x in torch.rand(3, 2, 4, 20, 8, dtype=torch.float64))
    grads = {}
    for certify in (True, False):
        with record_calls() as calls:
            out = scaled_dot_product_attention(q, k, v, method="Exact()", certify=certify)
        (out**2).sum().backward()
        grads[certify] = [out, *(x.grad.clone() for x in (q, k, v))]
        for x in (q, k, v):
            x.grad = None
        assert np.isfinite(calls[0].certificate.rows).all() == certify
    assert all(torch.equal(a, b) for a, b in zip(grads[True], grads[False], strict=True))
    bad = torch.full_like(q, torch.nan)
    assert (
        scaled_dot_product_attention(bad.detach(), k, v, method="Exact()", certify=False)
        .isnan()
        .all()
    )
    with pytest.raises(ValueError, match="certificates with certify=False"):
        scaled_dot_product_attention(q, k, v, method="Exact()", certify=False, certificates=[])
    with pytest.raises(TypeError, match="certify"):
        scaled_dot_product_attention(q, k, v, method="Exact()", certify=1)


def test_a_registered_method_may_leave_certificates_out() -> None:
    from approxattn.torch import hugging_face

    made = hugging_face.Choice(methods="Exact()", seed=None, unsupported="raise", gradient="output")
    assert made.certify
    with pytest.raises(TypeError, match="certify"):
        hugging_face.register("no certificates", "Exact()", certify="no")
