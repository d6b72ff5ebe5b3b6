"""What is drawn are the numbers of the record."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn.diagnosis.comparison import pareto
from approxattn.diagnosis.cost_figure import kind

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

RNG = np.random.default_rng(3)
Q, K, V = RNG.uniform(-2, 2, (3, 2, 60, 6))
OUT = aa.attention(Q, K, V, aa.Polynomial(degree=6))
AUDIT = aa.audit(OUT.value, Q, K, V, rows=50, rng=np.random.default_rng(0))
REGIME = aa.diagnose(Q, K, V, compare_methods=True)


@pytest.fixture(autouse=True)
def _no_figure_is_left_open() -> Any:
    from matplotlib import pyplot as plt

    yield
    plt.close("all")


def line(ax: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the one line whose label begins so."""
    (found,) = [x for x in ax.lines if str(x.get_label()).startswith(label)]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def words(ax: Any) -> str:
    labels = ax.get_legend_handles_labels()[1]
    return " | ".join([ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left"), *labels])


def test_certificate() -> None:
    ax = OUT.certificate.plot()
    share, bounds = line(ax, "certified bound")
    np.testing.assert_array_equal(bounds, np.sort(OUT.certificate.rows, axis=None))
    np.testing.assert_allclose(share, 100 * np.arange(1, 121) / 120)
    assert "units of v" in words(ax)
    assert f"largest, {OUT.certificate.rows.max():.3g}" in words(ax)


def test_rows_without_a_bound_are_a_band() -> None:
    rows = np.array([3.0, np.inf, 1.0, np.inf])
    ax = aa.Certificate(rows=rows, target="t", theorem="k", unmet=("why",)).plot()
    share, bounds = line(ax, "certified bound")
    np.testing.assert_array_equal(bounds, [1.0, 3.0])
    np.testing.assert_array_equal(share, [25.0, 50.0])
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == (50.0, 50.0)
    assert "no bound, 2 of 4 rows" in words(ax)


@pytest.mark.parametrize("rows", [np.zeros(0), np.zeros(3), np.full(2, np.inf), np.ones(1)])
def test_certificate_with_nothing_to_see(rows: np.ndarray) -> None:
    ax = aa.Certificate(rows=rows, target="t", theorem="k", unmet=("why",)).plot()
    ax.figure.canvas.draw()


def test_axes_given_are_used_and_returned() -> None:
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(2, 2)
    assert OUT.certificate.plot(ax=axes[0, 0]) is axes[0, 0]
    assert AUDIT.plot(ax=axes[0, 1]) is axes[0, 1]
    assert AUDIT.plot(OUT, ax=axes[1, 0]) is axes[1, 0]
    assert REGIME.plot(ax=axes[1, 1]) is axes[1, 1]
    assert plt.get_fignums() == [1]


def test_audit() -> None:
    ax = AUDIT.plot()
    _, errors = line(ax, "errors of the rows recomputed")
    np.testing.assert_array_equal(errors, np.sort(AUDIT.errors))
    share, promised = line(ax, "not exceeded")
    assert [AUDIT.quantile(x / 100) for x in share] == pytest.approx(promised.tolist())
    level = line(ax, "largest error of mean of v")[1][0]
    assert level == AUDIT.baselines["mean of v"].errors.max()
    assert "99 % confidence" in words(ax)


def test_audit_against_bounds() -> None:
    ax = AUDIT.plot(OUT)
    bounds, errors = line(ax, "rows")
    np.testing.assert_array_equal(errors, AUDIT.errors)
    expected = [OUT.certificate.rows[i, j] for i, j in AUDIT.rows]
    np.testing.assert_array_equal(bounds, expected)
    assert (errors <= bounds).all(), "a certificate that is smaller than the error"


def test_audit_refuses_the_certificate_of_another_output() -> None:
    other = aa.attention(Q[0], K[0], V[0], aa.Exact())
    with pytest.raises(ValueError, match="certificate that came with this output"):
        AUDIT.plot(other)


def test_regime() -> None:
    ax = REGIME.plot()
    tried = [t for t in REGIME.trials if t.method is not None and 0 < t.error < np.inf]
    for name in {kind(t) for t in tried}:
        own = [(t.cost, t.error) for t in tried if kind(t) == name]
        np.testing.assert_array_equal(np.stack(line(ax, name), axis=1), own)
    front = [(t.cost, t.error) for t in pareto(REGIME.trials)]
    np.testing.assert_array_equal(np.stack(line(ax, "not beaten"), axis=1), front)
    assert "multiply-adds / those of exact attention" in words(ax)


def test_two_kinds_never_look_alike() -> None:
    ax = REGIME.plot()
    looks = [(x.get_color(), x.get_marker()) for x in ax.lines if x.get_linestyle() == "None"]
    assert len(set(looks)) == len(looks) > 3


def test_regime_without_trials() -> None:
    with pytest.raises(ValueError, match="compare_methods=True"):
        aa.diagnose(Q, K, V).plot()


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        OUT.certificate.plot()
