"""Gradients block by block: bounds that hold and are as good as in memory, runs that continue, the
same bits whoever does the work.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from dense_attention import gradient, row_errors, tokens

import approxattn as aa
from approxattn import distributed
from approxattn.monomials.kernel import Kernel
from approxattn.monomials.states import read_gradients, states

PARTS = ("dq", "dk", "dv")
POLYNOMIALS = [
    aa.Polynomial(degree=3),
    aa.Polynomial(degree=3, gradient="plug-in"),
    aa.Polynomial(degree=2, basis="taylor", centre="none"),
    aa.Polynomial(degree=9),
    aa.Polynomial(degree=8, basis="chebyshev", gradient="plug-in"),
    aa.Polynomial(tolerance=0.1),
    aa.Polynomial(coefficients=(1.0, 1.0, 0.5)),
]
METHODS = [
    *((method, False) for method in POLYNOMIALS),
    *((method, True) for method in POLYNOMIALS if method.gradient == "consistent"),
    (POLYNOMIALS[1], True),
    (aa.Exact(), False),
    (aa.Exact(), True),
]
FEW = [(POLYNOMIALS[0], c) for c in (False, True)] + METHODS[-3:]


def check(found, want) -> None:
    for name in PARTS:
        error = row_errors(getattr(found, name), want[name])
        assert (error <= getattr(found.certificate, name)).all(), name


@pytest.mark.parametrize(("method", "causal"), METHODS, ids=str)
@pytest.mark.parametrize(("size", "dtype"), [(1e-3, "float32"), (0.6, "float32"), (0.6, "float64")])
def test_bounds_hold(method, causal: bool, size: float, dtype: str) -> None:
    arrays = tokens(4, (130, 4), 1, size, dtype)
    arrays[1][5:20] = arrays[1][4]
    found = distributed.attention_vjp(*arrays, method, causal=causal, shard=40)
    check(found, gradient(*arrays, causal=causal))
    assert found.certificate.theorem == "ours.gradient"
    assert all(getattr(found, name).dtype == dtype for name in PARTS)


@pytest.mark.parametrize(("method", "causal"), [*FEW, (POLYNOMIALS[2], False)], ids=str)
def test_bounds_hold_at_any_scale(method, causal: bool) -> None:
    """Refused where sums could overflow; a bound too small is never handed out."""
    claimed = 0
    for of_q, of_k, of_v, of_g in [
        (1e-15, 1.0, 1.0, 1.0),
        (1e-25, 1e-12, 1e-20, 1e20),
        (1e3, 1e-4, 1e12, 1e-12),
        (1e-3, 3.0, 1e-30, 1e-8),
        (0.7, 0.7, 1e3, 1e3),
        (1e-30, 1e-30, 1e-35, 1.0),
    ]:
        arrays = tokens(4, (50, 3), 2, 1.0, "f8")
        sizes = zip(arrays, (of_q, of_k, of_v, of_g), strict=True)
        arrays = [(x * size).astype("f4") for x, size in sizes]
        try:
            found = distributed.attention_vjp(*arrays, method, causal=causal, shard=16)
        except ValueError as error:
            assert "overflow" in str(error) or "too low" in str(error)  # noqa: PT017
            continue
        check(found, gradient(*arrays, causal=causal))
        claimed += bool(np.isfinite(found.certificate.dv).all())
    assert claimed >= 4


@pytest.mark.parametrize(("method", "causal"), METHODS[:-2], ids=str)
def test_bounds_are_those_in_memory(method, causal: bool) -> None:
    """But for the range of the scores, which memory knows better, and the rounding of sums."""
    arrays = tokens(4, (130, 4), 3, 0.3, "f8")
    settings = {"centre": "keys"} if method.centre == "both" else {}
    whole = type(method)(**{**vars(method), **settings})
    found = distributed.attention_vjp(*arrays, method, causal=causal, shard=40).certificate
    want = aa.attention_vjp(*arrays, whole, causal=causal).certificate
    for name in PARTS:
        assert getattr(found, name).max() <= 4 * getattr(want, name).max() + 1e-8, name


@pytest.mark.parametrize("causal", [False, True])
def test_taylor_gradients_are_those_in_memory(causal: bool) -> None:
    """Their polynomial does not depend on the range, so nothing but rounding may differ."""
    arrays = tokens(4, (130, 4), 4, 0.5, "f8")
    for kind in ("consistent", "plug-in"):
        method = aa.Polynomial(degree=4, basis="taylor", centre="none", gradient=kind)
        for shard in (17, 1000):
            found = distributed.attention_vjp(*arrays, method, causal=causal, shard=shard)
            want = aa.attention_vjp(*arrays, method, causal=causal)
            for name in PARTS:
                one, other = getattr(found, name), getattr(want, name)
                assert one == pytest.approx(other, rel=1e-10, abs=1e-12)
                bounds = [getattr(x.certificate, name) for x in (found, want)]
                assert bounds[0].max() <= 1.3 * bounds[1].max()


@pytest.mark.parametrize(("method", "causal"), FEW, ids=str)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 1), "float64"), ((2, 1), "float16"), ((2, 3, 17, 3), "float16")]
)
def test_shapes_and_dtypes(method, causal: bool, shape: tuple[int, ...], dtype: str) -> None:
    arrays = tokens(4, shape, 5, 0.5, dtype)
    given = [x.copy() for x in arrays]
    found = distributed.attention_vjp(*arrays, method, causal=causal, shard=5)
    for name, x in zip(PARTS, arrays, strict=False):
        assert (getattr(found, name).shape, getattr(found, name).dtype) == (x.shape, x.dtype)
        assert getattr(found.certificate, name).shape == x.shape[:-1]
    check(found, gradient(*arrays, causal=causal))
    assert all((a == b).all() for a, b in zip(arrays, given, strict=True))


@pytest.mark.parametrize("method", [aa.Polynomial(degree=3), aa.Exact()], ids=str)
def test_other_numbers_of_queries_and_a_scale(method) -> None:
    q, k, v, g = tokens(4, (60, 3), 6, 0.4, "f4")
    for scale in (1e-30, 2.0):
        found = distributed.attention_vjp(q[:17], k, v, g[:17], method, scale=scale, shard=13)
        check(found, gradient(q[:17], k, v, g[:17], scale=scale))


def test_gradients_of_a_state_are_those_of_the_kernel() -> None:
    rng = np.random.default_rng(7)
    coefficients = (1.0, 0.9, 0.4, 0.1)
    for shape in ((30, 4), (2, 1, 9, 1), (3000, 3)):
        x, y = rng.standard_normal((2, *shape))
        left, right = rng.standard_normal((2, *shape[:-1], 3))
        want = Kernel(coefficients=coefficients, causal=False, kind="features", xp=np)
        found = read_gradients(x, left, states(y, right, coefficients, np), 3, np)
        assert found == pytest.approx(want.gradient_x(x, left, y, right), rel=1e-9, abs=1e-9)
    strict = pytest.importorskip("array_api_strict")
    x, y, left, right = (a[:20] for a in (x, y, left, right))
    other = [strict.asarray(a) for a in (x, left, states(y, right, coefficients, np))]
    found = np.asarray(read_gradients(*other, 3, strict))
    assert found == pytest.approx(want.gradient_x(x, left, y, right), rel=1e-9, abs=1e-9)


class Stop(Exception):
    """An interruption."""


def stop_after(count: int):
    def progress(done: int, total: int) -> None:
        del total
        if done == count:
            raise Stop

    return progress


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.npy" for name in ("q", "k", "v", "dout")]
    for path, x in zip(paths, tokens(4, (100, 4), 8, 0.5, "f4"), strict=True):
        np.save(path, x)
    return paths


@pytest.mark.parametrize(("method", "causal"), FEW, ids=str)
@pytest.mark.parametrize(("after", "ending"), [(2, ".npy"), (12, ".npy"), (12, ".zarr")])
def test_an_interrupted_run_continues(
    files, tmp_path: Path, method, causal: bool, after: int, ending: str
) -> None:
    if ending == ".zarr":
        pytest.importorskip("zarr")
    out = tmp_path / f"g{ending}"
    call = {"out": out, "shard": 20, "causal": causal}
    with pytest.raises(Stop):
        distributed.attention_vjp(*files, method, progress=stop_after(after), **call)
    assert not list(tmp_path.glob("g.d*"))
    with ThreadPoolExecutor(2) as pool:
        done = distributed.attention_vjp(*files, method, executor=pool, **call)
    want = distributed.attention_vjp(*map(np.load, files), method, causal=causal, shard=20)
    for name in PARTS:
        assert (getattr(done, name)[:] == getattr(want, name)).all()
        assert (done.rows[name] == getattr(want.certificate, name)).all()
        assert done.bound[name] == getattr(want.certificate, name).max()
    assert (done.certificate.dk == want.certificate.dk).all()
    names = sorted(p.name for p in tmp_path.glob("g*"))
    assert names == [f"g.dk{ending}", f"g.dq{ending}", f"g.dv{ending}", "g.run"]
    again = distributed.attention_vjp(*files, method, progress=stop_after(1), **call)
    assert (again.dq[:] == want.dq).all()
    assert "dk within" in repr(again)
    json.dumps(again.to_dict())


@pytest.mark.parametrize("which", range(4))
def test_another_input_is_refused(files, tmp_path: Path, which: int) -> None:
    call = {"out": tmp_path / "g.npy", "shard": 20}
    with pytest.raises(Stop):
        distributed.attention_vjp(*files, POLYNOMIALS[0], progress=stop_after(12), **call)
    changed = np.load(files[which])
    changed[57, 1] += 1e-3
    np.save(files[which], changed)
    with pytest.raises(ValueError, match=f"with {files[which].stem} "):
        distributed.attention_vjp(*files, POLYNOMIALS[0], **call)


def test_an_output_that_is_there_is_left_alone(files, tmp_path: Path) -> None:
    (tmp_path / "g.dk.npy").write_text("mine")
    with pytest.raises(ValueError, match=r"g\.dk\.npy'\) exists and is no run's"):
        distributed.attention_vjp(*files, POLYNOMIALS[0], out=tmp_path / "g.npy")
    assert (tmp_path / "g.dk.npy").read_text() == "mine"


def test_bounds_are_not_handed_out_with_another_gradient(files, tmp_path: Path) -> None:
    call = {"out": tmp_path / "g.npy", "shard": 20}
    distributed.attention_vjp(*files, POLYNOMIALS[0], **call)
    changed = np.load(tmp_path / "g.dv.npy")
    changed[3, 1] += 1
    np.save(tmp_path / "g.dv.npy", np.concatenate([changed, changed]))
    with pytest.raises(ValueError, match="is not what its run wrote"):
        distributed.attention_vjp(*files, POLYNOMIALS[0], **call)


def test_refusals() -> None:
    q, k, v, g = tokens(4, (6, 2), 9, 1.0, "f8")
    method = aa.Polynomial(degree=3)
    for bad, options, match in [
        ((q, k, v, g[:5], method), {}, "dout has shape"),
        ((q, k, v, g.astype("f4"), method), {}, "dout has dtype"),
        ((q, k, v, g, aa.Nystrom(landmarks=2)), {}, "the gradient of Nystrom cannot"),
        ((q, k, v, g, aa.Yoso(bits=2, hashes=3)), {"seed": 0}, "gradient in blocks is not built"),
        ((q, k, v, 3e306 * g, method), {}, "overflow"),
        ((q, k, v, g + np.nan, method), {}, "finite"),
        ((q, k, v, g, aa.Exact()), {"out": "g"}, "must end in"),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            distributed.attention_vjp(*bad, **options)


@pytest.mark.parametrize(("method", "causal"), FEW, ids=str)
def test_dask_arrays_have_the_same_bits(method, causal: bool) -> None:
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    from approxattn.dask import attention_vjp

    host = tokens(4, (90, 4), 10, 0.5, "f4")
    want = distributed.attention_vjp(*host, method, causal=causal, shard=20)
    grads = attention_vjp(*(da.from_array(x, chunks=(20, 4)) for x in host), method, causal=causal)
    assert grads.dk.chunks == ((20, 20, 20, 20, 10), (4,))
    for scheduler in ("synchronous", "threads"):
        *values, certificate = dask.compute(*grads, scheduler=scheduler)
        for name, value in zip(PARTS, values, strict=True):
            assert (value == getattr(want, name)).all()
            assert (getattr(certificate, name) == getattr(want.certificate, name)).all()
        assert certificate.facts == want.certificate.facts
    alone = grads.dv[25:31].compute(scheduler="synchronous")
    assert (alone == want.dv[25:31]).all()


def test_leading_axes_of_dask_arrays_in_chunks() -> None:
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    from approxattn.dask import attention_vjp

    host = tokens(4, (4, 2, 50, 3), 11, 0.5, "f8")
    grads = attention_vjp(*(da.from_array(x, chunks=(2, 2, 20, 3)) for x in host), POLYNOMIALS[0])
    *values, certificate = dask.compute(*grads, scheduler="synchronous")
    for name, value in zip(PARTS, values, strict=True):
        error = row_errors(value, gradient(*host)[name])
        assert (error <= getattr(certificate, name)).all()
