"""The layout of the input in memory is invisible: same bits as a contiguous copy, and not one byte
of it is written.
"""

from collections.abc import Callable

import numpy as np
import pytest
from cases import Case, cases, run
from methods import TABLE, Row
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray


def _every_second(x: HostArray) -> HostArray:
    wide = np.full((*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1]), np.nan)
    wide[..., ::2, ::2] = x
    return wide[..., ::2, ::2]


def _unaligned(x: HostArray) -> HostArray:
    raw = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:]
    return raw.view(x.dtype).reshape(x.shape)


LAYOUTS: dict[str, Callable[[HostArray], HostArray]] = {
    "fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(np.swapaxes(x, -1, -2)).swapaxes(-1, -2),
    "negative strides": lambda x: np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1],
    "every second entry": _every_second,
    "unaligned": _unaligned,
}


def call(row: Row, case: Case, q: HostArray, k: HostArray, v: HostArray) -> aa.Approximation:
    rng = np.random.default_rng(5) if row.method.randomised else None
    return aa.attention(q, k, v, row.method, rng=rng, **case.options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_same_bits_as_a_contiguous_copy(row: Row, layout: str) -> None:
    change = LAYOUTS[layout]
    for case in cases(row):
        q, k, v = (change(x) for x in (case.q, case.k, case.v))
        for x, original in zip((q, k, v), (case.q, case.k, case.v), strict=True):
            np.testing.assert_array_equal(x, original)
        contiguous, strange = call(row, case, case.q, case.k, case.v), call(row, case, q, k, v)
        np.testing.assert_array_equal(contiguous.value, strange.value, err_msg=str(case))
        np.testing.assert_array_equal(
            contiguous.certificate.rows, strange.certificate.rows, err_msg=str(case)
        )


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_broadcast_views_give_the_same_bits(row: Row) -> None:
    """One row repeated by a stride of 0, as `numpy.broadcast_to` makes it."""
    for case in cases(row):
        views = [np.broadcast_to(x[..., :1, :], x.shape) for x in (case.q, case.k, case.v)]
        copies = [np.array(x, order="C") for x in views]
        np.testing.assert_array_equal(
            call(row, case, *views).value, call(row, case, *copies).value, err_msg=str(case)
        )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_input_is_never_written(row: Row, library: Library) -> None:
    for case in cases(row):
        arrays = [library.put(x) for x in (case.q, case.k, case.v)]
        options = {
            name: library.put(x) if isinstance(x, np.ndarray) else x
            for name, x in case.options.items()
        }
        rng = np.random.default_rng(5) if row.method.randomised else None
        aa.attention(*arrays, row.method, rng=rng, **options)
        for array, original in zip(arrays, (case.q, case.k, case.v), strict=True):
            np.testing.assert_array_equal(library.get(array), original, err_msg=str(case))


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_output_shares_no_memory_with_the_input(row: Row) -> None:
    for case in cases(row):
        one = case.where(
            q=case.q[..., :1, :], k=case.k[..., :1, :], v=case.v[..., :1, :], options={}
        )
        for tried in (case, one):
            value = call(row, tried, tried.q, tried.k, tried.v).value
            assert not any(np.may_share_memory(value, x) for x in (tried.q, tried.k, tried.v)), str(
                case
            )


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_nothing_outside_the_call_changes(row: Row) -> None:
    """Neither the floating-point error state nor NumPy's global generator."""
    case = cases(row)[0]
    state, errors = np.random.get_state()[1].copy(), np.geterr()  # noqa: NPY002 - watched, not used
    run(row, case)
    assert np.geterr() == errors
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
