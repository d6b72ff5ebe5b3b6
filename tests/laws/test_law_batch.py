"""A call on a batch is the calls on its items: draws are shared by all leading indices, and nothing
leaks from one to the other.

A method that fits something to the whole call may move, but not further than its two certificates
allow.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from cases import Case, Outcome, cases, gap, rounding, run
from methods import TABLE, Row, exempt_from, obeying
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa


def item(case: Case, index: tuple[int, ...]) -> Case:
    mask = case.options.get("key_mask")
    options = dict(case.options)
    if mask is not None:
        options["key_mask"] = np.broadcast_to(mask, case.k.shape[:-1])[index]
    return case.where(q=case.q[index], k=case.k[index], v=case.v[index], options=options)


def pairs(row: Row, library: Library) -> Iterator[tuple[Case, tuple[int, ...], Outcome, Outcome]]:
    """Yield the call on the batch and the call on one item, for each item of each case with leading
    axes.
    """
    for case in (case for case in cases(row) if case.q.ndim > 2):
        whole = run(row, case, library)
        for index in np.ndindex(*case.q.shape[:-2]):
            yield case, index, whole, run(row, item(case, index), library)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", obeying("batch"), ids=str)
def test_batch_is_its_items(row: Row, library: Library) -> None:
    for case, index, whole, single in pairs(row, library):
        assert gap(whole.value[index], single.value) <= rounding(case), (
            f"item {index} of case {case}"
        )
        np.testing.assert_allclose(
            whole.certificate.rows[index],
            single.certificate.rows,
            rtol=1e-6,
            atol=rounding(case),  # the rounding part may be that of the largest item
            err_msg=f"item {index} of case {case}",
        )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_batch_and_items_agree_within_their_certificates(row: Row, library: Library) -> None:
    for case, index, whole, single in pairs(row, library):
        assert whole.certificate.rows.shape == case.q.shape[:-1]
        assert whole.certificate.bound.shape == case.q.shape[:-2]
        excess = np.abs(whole.value[index] - single.value).max(axis=-1) - (
            whole.certificate.rows[index] + single.certificate.rows
        )
        assert (excess <= 0).all(), f"by {excess.max()} in item {index} of case {case}"


def test_exemptions_are_needed() -> None:
    for row in exempt_from("batch"):
        moved = [
            gap(whole.value[index], single.value) > rounding(case)
            for case, index, whole, single in pairs(row, NUMPY)
        ]
        assert any(moved), f"{row}: {row.exempt['batch']}"


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_leading_axes_broadcast(row: Row, library: Library) -> None:
    """Heads that share keys are a group, for which a polynomial may choose its centre anew."""
    chooses = isinstance(row.method, aa.Polynomial)
    for case in (case for case in cases(row) if case.q.ndim > 2 and "key_mask" not in case.options):
        shared = case.where(k=case.k[(0,) * (case.k.ndim - 2)], v=case.v[..., :1, :, :])
        full = case.where(
            k=np.broadcast_to(shared.k, case.k.shape), v=np.broadcast_to(shared.v, case.v.shape)
        )
        one, other = run(row, shared, library), run(row, full, library)
        if chooses:
            excess = np.abs(one.value - other.value).max(axis=-1)
            allowed = one.certificate.rows + other.certificate.rows
            assert (excess <= allowed).all(), f"on case {case}"
        else:
            assert gap(one.value, other.value) <= rounding(case), f"on case {case}"
