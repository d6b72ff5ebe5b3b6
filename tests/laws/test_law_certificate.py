"""No entry is further from its target than its row's certificate says, in any library and dtype,
held against ball arithmetic.
"""

import numpy as np
import pytest
from cases import Case, cases, run
from methods import TABLE, Row
from namespaces import LIBRARIES, Library
from oracle import enclose, row_errors

FINITE = [row for row in TABLE if np.isfinite(row.slack)]


def items(case: Case) -> list[tuple[tuple[int, ...], Case]]:
    """Return the batch items of a case, each with its index."""
    mask = case.options.get("key_mask")
    found = []
    for index in np.ndindex(*case.q.shape[:-2]):
        options = dict(case.options)
        if mask is not None:
            options["key_mask"] = np.broadcast_to(mask, case.k.shape[:-1])[index]
        found.append(
            (index, case.where(q=case.q[index], k=case.k[index], v=case.v[index], options=options))
        )
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", FINITE, ids=str)
def test_error_within_certificate(row: Row, dtype: str) -> None:
    for case in (case.astype(dtype) for case in cases(row)):
        enclosures = {index: enclose(row, item) for index, item in items(case)}
        for library in LIBRARIES:
            out = run(row, case, library)
            assert np.isfinite(out.certificate.rows).all(), f"no bound on case {case}"
            for index, enclosure in enclosures.items():
                excess = row_errors(out.value[index], enclosure) - out.certificate.rows[index]
                assert (excess <= 0).all(), (
                    f"by {excess.max()} on {library}, item {index} of case {case}"
                )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("row", [row for row in TABLE if row not in FINITE], ids=str)
def test_no_bound_comes_with_its_reason(row: Row, library: Library) -> None:
    for case in cases(row):
        certificate = run(row, case, library).certificate
        assert np.isinf(certificate.rows).all()
        assert certificate.unmet
        assert all(reason in str(certificate) for reason in certificate.unmet)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_certificate_reads_as_a_sentence(row: Row) -> None:
    for case in cases(row):
        certificate = run(row, case).certificate
        assert certificate.theorem
        assert f"[{certificate.theorem}]" in str(certificate)
        assert certificate.target in str(certificate)
        assert (certificate.kind == "surely") == (certificate.failure == 0)
        assert not certificate.rows.flags.writeable
