"""The result comes back in the caller's library, device and dtype, float64 for integers, with the
shape that attention has.
"""

import numpy as np
import pytest
from cases import cases, gap, run
from methods import TABLE, Row
from namespaces import FORBIDDING, LIBRARIES, NUMPY, STRICT, Library

from approxattn._arrays import dtype_name

DTYPES = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float16",
    "int64": "float64",
    "int8": "float64",
}


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_library_device_dtype_and_shape(row: Row, library: Library) -> None:
    for case in cases(row):
        for given, promised in DTYPES.items():
            if given == "float16" and library in (STRICT, FORBIDDING):
                continue  # the standard has no float16
            out = (
                run(
                    row,
                    case.where(q=np.ceil(case.q), k=np.ceil(case.k), v=np.ceil(case.v)).astype(
                        given
                    ),
                    library,
                )
                if given.startswith("int")
                else run(row, case.astype(given), library)
            )
            assert library.owns(out.array), (
                f"{type(out.array)} on {getattr(out.array, 'device', None)}"
            )
            assert dtype_name(out.array) == promised, f"{given} on case {case}"
            assert out.value.shape == (*case.q.shape[:-1], case.v.shape[-1])
            assert isinstance(out.certificate.rows, np.ndarray)
            assert out.certificate.rows.dtype == np.float64
            assert out.certificate.rows.shape == case.q.shape[:-1]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_dtypes_agree_within_their_certificates(row: Row) -> None:
    """A float16 result differs from the float64 result of the same numbers by no more than both
    certificates.
    """
    for case in cases(row):
        for narrow in ("float32", "float16"):
            small = run(row, case.astype(narrow))
            wide = run(row, case.astype(narrow).astype("float64"))
            allowed = small.certificate.rows + wide.certificate.rows
            difference = np.abs(small.value.astype(np.float64) - wide.value).max(axis=-1)
            assert (difference <= allowed).all(), f"{narrow} on case {case}"


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_libraries_agree(row: Row) -> None:
    for case in cases(row):
        here = run(row, case, NUMPY)
        for library in LIBRARIES:
            there = run(row, case, library)
            assert gap(here.value, there.value) <= 1e-10, f"{library} on case {case}"
            np.testing.assert_allclose(there.certificate.rows, here.certificate.rows, rtol=1e-6)
