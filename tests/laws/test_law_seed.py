"""The same seed gives the same bits, another seed another value; methods that draw nothing do not
touch a generator they are given.
"""

import numpy as np
import pytest
from cases import cases, run
from methods import TABLE, Row
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa

RANDOMISED = [row for row in TABLE if row.method.randomised]
DETERMINISTIC = [row for row in TABLE if not row.method.randomised]


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_same_seed_same_bits(row: Row, library: Library) -> None:
    for case in cases(row):
        first, second = run(row, case, library), run(row, case, library)
        np.testing.assert_array_equal(first.value, second.value, err_msg=str(case))
        np.testing.assert_array_equal(
            first.certificate.rows, second.certificate.rows, err_msg=str(case)
        )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", RANDOMISED, ids=str)
def test_other_seed_other_value(row: Row, library: Library) -> None:
    moved = [
        bool((run(row, case, library, seed=8).value != run(row, case, library).value).any())
        for case in cases(row)
    ]
    assert any(moved)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", RANDOMISED, ids=str)
def test_every_library_sees_the_same_draws(row: Row, library: Library) -> None:
    for case in cases(row):
        np.testing.assert_allclose(
            run(row, case, library).value,
            run(row, case, NUMPY).value,
            rtol=1e-9,
            atol=1e-11,
            err_msg=str(case),
        )


@pytest.mark.parametrize("row", RANDOMISED, ids=str)
def test_no_hidden_default(row: Row) -> None:
    x = np.ones((3, 2))
    for rng in (None, 7, np.random.RandomState(0)):
        with pytest.raises(TypeError, match=r"rng=numpy\.random\.default_rng"):
            aa.attention(x, x, x, row.method, rng=rng)


@pytest.mark.parametrize("row", DETERMINISTIC, ids=str)
def test_nothing_is_drawn(row: Row) -> None:
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    case = cases(row)[0]
    aa.attention(case.q, case.k, case.v, row.method, rng=rng, **case.options)
    assert rng.bit_generator.state == twin.bit_generator.state
