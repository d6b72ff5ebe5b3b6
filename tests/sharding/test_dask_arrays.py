"""Dask arrays: lazy, and the same bits on every scheduler as block by block."""

from __future__ import annotations

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
METHOD = aa.Polynomial(degree=3)


def arrays(shape=(90, 4), dtype="f4"):
    return np.random.default_rng(0).standard_normal((3, *shape)).astype(dtype)


def lazy(host, chunks=20):
    whole = host[0].shape[:-2]
    return [da.from_array(x, chunks=(*whole, chunks, x.shape[-1])) for x in host]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reread", [False, True])
def test_same_bits_as_blocks(causal: bool, reread: bool) -> None:
    from approxattn.dask import attention

    host = arrays()
    want = distributed.attention(*host, METHOD, causal=causal, shard=20)
    out = attention(*lazy(host), METHOD, causal=causal, reread=reread)
    assert out.value.chunks == ((20, 20, 20, 20, 10), (4,))
    for scheduler in ("synchronous", "threads"):
        value, certificate = dask.compute(*out, scheduler=scheduler)
        assert (value == want.value).all()
        assert (certificate.rows == want.certificate.rows).all()
        assert certificate.facts == want.certificate.facts


def test_nothing_is_read_before_it_is_computed_and_blocks_are_not_kept() -> None:
    from approxattn.dask import attention

    host, reads = arrays(), []

    class Store:
        def __init__(self, x) -> None:
            self.x, self.shape, self.dtype, self.ndim = x, x.shape, x.dtype, x.ndim

        def __getitem__(self, where):
            reads.append(where)
            return self.x[where]

    stores = [da.from_array(Store(x), chunks=(10, 4), asarray=False) for x in host]
    out = attention(*stores, METHOD)
    assert not reads
    out.value.compute(scheduler="synchronous")
    # q for its measures and the answers; k for the centre, these, and the folds; v for the folds
    assert len(reads) <= 9 * 6 + 6


def test_leading_axes_in_chunks() -> None:
    from approxattn.dask import attention

    host = arrays((4, 2, 50, 3), "f8")
    q, k, v = (da.from_array(x, chunks=(2, 2, 20, 3)) for x in host)
    out = attention(q, k.rechunk((4, 1, 50, 3)), v, aa.Polynomial(degree=4))
    value, certificate = dask.compute(*out)
    exact = aa.attention(*host, aa.Exact())
    assert (np.abs(value - exact.value).max(axis=-1) <= certificate.rows + 1e-12).all()
    assert certificate.rows.shape == (4, 2, 50)


def test_a_promise_of_every_leading_index() -> None:
    from approxattn.dask import attention

    host = arrays((4, 40, 3), "f8")
    q, k, v = (da.from_array(x, chunks=(2, 20, 3)) for x in host)
    certificate = attention(q, k, v, aa.Polynomial(tolerance=0.05)).certificate.compute()
    assert certificate.promised.shape == (4,)
    assert not certificate.unmet


def test_one_part_computes_one_part() -> None:
    from approxattn.dask import attention

    host = arrays()
    out = attention(*lazy(host), METHOD).value
    want = distributed.attention(*host, METHOD, shard=20)
    assert (out[25:31].compute() == want.value[25:31]).all()


def test_refusals() -> None:
    from approxattn.dask import attention

    q, k, v = lazy(arrays())
    with pytest.raises(TypeError, match=r"approxattn\.dask"):
        aa.attention(q, k, v, METHOD)
    with pytest.raises(TypeError, match=r"approxattn\.dask"):
        distributed.attention(q, k, v, METHOD)
    with pytest.raises(TypeError, match="not a dask array"):
        attention(q.compute(), k, v, METHOD)
    with pytest.raises(ValueError, match="along features"):
        attention(q.rechunk((20, 2)), k, v, METHOD)
    with pytest.raises(ValueError, match="unknown chunks"):
        attention(q[q[:, 0] > 0], k, v, METHOD)
    with pytest.raises(ValueError, match="as many"):
        attention(q[:5], k, v, METHOD, causal=True)


def test_xarray() -> None:
    xr = pytest.importorskip("xarray")
    from approxattn.dask import attention

    host = arrays()
    named = zip("qkv", lazy(host), strict=True)
    data = xr.Dataset({n: (("token", "feature"), x) for n, x in named})
    out = xr.apply_ufunc(
        lambda q, k, v: attention(q, k, v, METHOD).value,
        *(data[n] for n in "qkv"),
        input_core_dims=[["token", "feature"]] * 3,
        output_core_dims=[["token", "feature"]],
        dask="allowed",
    )
    want = distributed.attention(*host, METHOD, shard=20)
    assert (out.compute().values == want.value).all()


def test_to_zarr(tmp_path) -> None:
    zarr = pytest.importorskip("zarr")
    from approxattn.dask import attention

    host = arrays((80, 4))
    attention(*lazy(host), METHOD).value.to_zarr(str(tmp_path / "o.zarr"))
    want = distributed.attention(*host, METHOD, shard=20)
    assert (zarr.open_array(str(tmp_path / "o.zarr"))[:] == want.value).all()
