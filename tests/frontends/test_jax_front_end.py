"""`approxattn.jax`: any method under jit, grad and vmap, and the traced forms of some."""

from __future__ import annotations

import numpy as np
import pytest
from methods import TABLE

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402 - after the skip
from jax.test_util import check_grads  # noqa: E402

import approxattn as aa  # noqa: E402
from approxattn.jax import attention, traced_attention  # noqa: E402


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.uniform(-1, 1, s)) for s in shapes]


def core(*given, **keywords):
    return aa.attention(*(np.asarray(x) for x in given[:3]), given[3], **keywords).value


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_jit_gives_the_method_itself(row) -> None:
    q, k, v = arrays((2, 7, 4), (2, 7, 4), (2, 7, 3))
    found = jax.jit(lambda *x: attention(*x, row.method, key=3))(q, k, v)
    wanted = core(q, k, v, row.method, rng=np.random.default_rng(3))
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("wide", [True, False])
def test_bounds_pass_through_jit_and_vmap(wide: bool) -> None:
    q, k, v = (np.asarray(x) for x in arrays((3, 7, 4), (3, 7, 4), (3, 7, 3)))
    method = aa.Polynomial(degree=4)
    with jax.enable_x64(wide):

        def attend(*x):
            return attention(*x, method, return_bounds=True)

        given = [jnp.asarray(x) for x in (q, k, v)]
        value, bounds = jax.jit(attend)(*given)
        want = aa.attention(*(np.asarray(x) for x in given), method)
        assert np.array_equal(value, want.value)
        assert bounds.dtype == (np.float64 if wide else np.float32)
        assert np.all(np.asarray(bounds, float) >= want.certificate.rows)
        np.testing.assert_allclose(bounds, want.certificate.rows, rtol=1e-6)
        each = jax.vmap(attend)(*given)
        assert each[0].shape == (3, 7, 3)
        assert each[1].shape == (3, 7)
        grad = jax.grad(lambda q: attend(q, *given[1:])[0].sum())
        plain = jax.grad(lambda q: attention(q, *given[1:], method).sum())
        assert np.array_equal(grad(given[0]), plain(given[0]))


def test_without_a_certificate_the_value_is_the_same() -> None:
    q, k, v = arrays((7, 4), (7, 4), (7, 3))

    def attend(*x, **options):
        return jax.jit(lambda *y: attention(*y, aa.Exact(), **options))(*x)

    assert np.array_equal(attend(q, k, v, certify=False), attend(q, k, v))
    assert np.isnan(attend(q * jnp.nan, k, v, certify=False)).all()
    with pytest.raises(Exception, match="must be finite"):
        attend(q * jnp.nan, k, v)
    with pytest.raises(ValueError, match="return_bounds=True with certify=False"):
        attention(q, k, v, aa.Exact(), certify=False, return_bounds=True)


SMOOTH = {
    "exact": (aa.Exact(), True),
    "polynomial": (aa.Polynomial(degree=4, centre="keys"), True),
    "performer": (aa.Performer(features=8), False),
    "nystrom": (aa.Nystrom(landmarks=3), False),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients(name: str) -> None:
    method, causal = SMOOTH[name]
    q, k, v = arrays((2, 7, 4), (7, 4), (2, 7, 3))

    def attend(*x):
        return attention(*x, method, causal=causal, key=3)

    check_grads(attend, (q, k, v), order=1, modes=["rev"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SMOOTH)
def test_vmap_is_a_loop(name: str) -> None:
    method, causal = SMOOTH[name]
    q, k, v = arrays((3, 2, 7, 4), (2, 7, 4), (2, 7, 3, 3))
    q = q * jnp.asarray([1.0, 2.0, 4.0])[:, None, None, None]

    def loss(*x):
        return (attention(*x, method, causal=causal, key=3) ** 2).sum()

    grad = jax.grad(loss, (0, 1, 2))
    each = jax.jit(jax.vmap(grad, (0, None, 3)))(q, k, v)
    for i in range(3):
        for a, b in zip(each, grad(q[i], k, v[..., i]), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-12, atol=1e-14)


def test_masks_may_be_traced() -> None:
    q, k, v = arrays(*[(2, 7, 4)] * 3)
    keys = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 7)) < 0.7).at[:, 0].set(True)

    def attend(q, keys):
        return attention(q, k, v, "Exact()", key_mask=keys)

    wanted = core(q, k, v, aa.Exact(), key_mask=np.asarray(keys))
    assert np.array_equal(jax.jit(attend)(q, keys), wanted)
    assert jax.grad(lambda q: attend(q, keys).sum())(q).shape == q.shape


def test_keys_of_random_draws() -> None:
    q, k, v = arrays(*[(7, 4)] * 3)
    method = aa.Performer(features=8)
    keys = jax.random.split(jax.random.key(0), 3)

    def attend(key):
        return attention(q, k, v, method, key=key)

    many = jax.jit(jax.vmap(attend))(keys)
    assert np.array_equal(many[1], attend(keys[1]))
    assert not np.array_equal(many[0], many[1])
    assert np.array_equal(attend(5), core(q, k, v, method, rng=np.random.default_rng(5)))
    with pytest.raises(ValueError, match="pass key"):
        attend(None)


def test_gradients_that_are_not_of_the_output_are_refused_unless_asked_for() -> None:
    q, k, v = arrays(*[(7, 4)] * 3)
    method = "Polynomial(degree=2, gradient='plug-in')"
    with pytest.raises(ValueError, match="not that of its output"):
        jax.grad(lambda q: attention(q, k, v, method).sum())(q)
    found = jax.grad(lambda q: attention(q, k, v, method, gradient="method").sum())(q)
    given = [np.asarray(x) for x in (q, k, v, jnp.ones_like(v))]
    wanted = aa.attention_vjp(*given, aa.Polynomial(degree=2, gradient="plug-in"))
    assert np.array_equal(found, wanted.dq)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtypes_are_kept(dtype) -> None:
    q, k, v = (x.astype(dtype) for x in arrays(*[(7, 4)] * 3))
    assert attention(q, k, v, "Exact()").dtype == dtype
    assert jax.grad(lambda q: attention(q, k, v, "Exact()").sum())(q).dtype == dtype


def test_what_the_package_refuses_is_refused_when_the_program_runs() -> None:
    q, k, v = arrays(*[(7, 4)] * 3)
    attend = jax.jit(lambda q: attention(q, k, v, "Exact()"))
    with pytest.raises(Exception, match="q must be finite"):
        jax.block_until_ready(attend(q.at[2, 1].set(jnp.nan)))


# --- the traced forms ----------------------------------------------------------------------------

TRACED = {
    "taylor, keys": (aa.Polynomial(degree=4, basis="taylor", centre="keys"), "causal mask"),
    "taylor, none": (aa.Polynomial(degree=2, basis="taylor", centre="none"), "causal mask"),
    "performer": (aa.Performer(features=16), "mask"),
    "hyperbolic": (aa.Performer(features=16, kind="hyperbolic"), "mask"),
    "means": (aa.Linformer(rank=5, sketch="mean-pool"), ""),
    "more means than tokens": (aa.Linformer(rank=40, sketch="mean-pool"), ""),
    "gaussian": (aa.Linformer(rank=5), ""),
    "delta": (aa.Linformer(rank=5, delta=0.1), ""),
    "count-sketch": (aa.Linformer(rank=5, sketch="count-sketch"), ""),
    "srht": (aa.Linformer(rank=5, sketch="srht"), ""),
}


@pytest.mark.parametrize("name", TRACED)
def test_traced_forms_equal_the_methods(name: str) -> None:
    method, forms = TRACED[name]
    q, k, v = arrays((2, 12, 4), (12, 4), (2, 12, 3))
    keys = np.random.default_rng(1).uniform(size=(2, 12)) < 0.7
    keys[:, 0] = True
    rng = np.random.default_rng(2)
    dout = jnp.asarray(rng.normal(size=(2, 12, 3)))
    cases: list = [{}, {"scale": 0.2}]
    cases += [{"causal": True}] if "causal" in forms else []
    cases += [{"key_mask": keys}] if "mask" in forms else []
    for keywords in cases:

        def attend(*x, keywords=keywords):
            return traced_attention(*x, method, seed=1, **keywords)

        rng = np.random.default_rng(1)
        wanted = core(q, k, v, method, rng=rng, **keywords)
        np.testing.assert_allclose(jax.jit(attend)(q, k, v), wanted, rtol=1e-12, atol=1e-14)
        found = jax.jit(jax.grad(lambda *x: (attend(*x) * dout).sum(), (0, 1, 2)))(q, k, v)
        given = [np.asarray(x) for x in (q, k, v)]
        g = np.asarray(dout)
        grads = aa.attention_vjp(*given, g, method, rng=np.random.default_rng(1), **keywords)
        for a, b in zip(found, (grads.dq, grads.dk, grads.dv), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "keywords"),
    [
        ("Polynomial(degree=2)", {}),
        ("Polynomial(degree=2, basis='taylor')", {}),
        ("Polynomial(tolerance=0.1, basis='taylor', centre='keys')", {}),
        ("Performer(features=4)", {"causal": True, "seed": 0}),
        ("Linformer(rank=2, sketch='mean-pool')", {"causal": True}),
        ("Linformer(rank=2, sketch='row-sample')", {"seed": 0}),
        ("Exact()", {}),
    ],
)
def test_other_methods_have_no_traced_form(method: str, keywords) -> None:
    q, k, v = arrays(*[(7, 4)] * 3)
    with pytest.raises(ValueError, match=r"no traceable form: use approxattn\.jax\.attention"):
        traced_attention(q, k, v, method, **keywords)


def test_traced_draws_need_a_seed() -> None:
    q, k, v = arrays(*[(7, 4)] * 3)
    with pytest.raises(ValueError, match="pass seed"):
        traced_attention(q, k, v, "Performer(features=4)")
