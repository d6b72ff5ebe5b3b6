"""States of ragged batches and of nothing, files that are none, arguments that are none, and sizes
that would not fit.
"""

from __future__ import annotations

import errno
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.monomials import memory

METHOD = aa.Polynomial(degree=4, basis="taylor")


def tokens(*shape: int, seed: int = 0) -> tuple[HostArray, HostArray, HostArray]:
    q, k, v = np.random.default_rng(seed).uniform(-1, 1, (3, *shape))
    return q, k, v


# --- ragged batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_an_item_without_keys_in_a_chunk_stays_as_it_is(library: Library) -> None:
    q, k, v = tokens(2, 5, 3)
    mask = np.array([[True, True], [False, False]])
    nan = np.where(mask[..., None], k[:, :2], np.nan)  # nothing behind a mask is looked at
    state = METHOD.state(library.put(k), library.put(v))
    longer = state.extend(library.put(nan), library.put(v[:, :2]), key_mask=library.put(mask))
    out, before = longer.query(library.put(q)), state.query(library.put(q))
    assert longer.keys.tolist() == [7, 5]
    np.testing.assert_array_equal(library.get(out.value)[1], library.get(before.value)[1])
    whole = METHOD.state(np.concatenate([k[0], k[0, :2]]), np.concatenate([v[0], v[0, :2]]))
    np.testing.assert_allclose(library.get(out.value)[0], whole.query(q[0]).value, atol=1e-12)


def test_a_left_padded_batch_is_folded_chunk_by_chunk() -> None:
    q, k, v = tokens(3, 12, 3)
    mask = np.arange(12) >= np.array([0, 5, 9])[:, None]
    state = METHOD.state(k[:, :4], v[:, :4], key_mask=mask[:, :4])
    empty = state.query(q)
    assert np.isnan(empty.value[1:]).all()
    assert np.isinf(empty.certificate.rows[1:]).all()
    assert "2 item(s) have seen no key" in empty.certificate.unmet[0]
    for start in (4, 8):
        part = slice(start, start + 4)
        state = state.extend(k[:, part], v[:, part], key_mask=mask[:, part])
    out = state.query(q)
    assert state.keys.tolist() == [12, 7, 3]
    for i in range(3):
        exact = aa.attention(q[i], k[i, mask[i]], v[i, mask[i]], aa.Exact()).value
        assert np.all(np.abs(out.value[i] - exact).max(axis=-1) <= out.certificate.rows[i])


def test_a_bad_mask_is_refused_as_attention_refuses_it() -> None:
    _, k, v = tokens(2, 5, 3)
    with pytest.raises(TypeError, match="it must be bool"):
        METHOD.state(k, v, key_mask=np.ones((2, 5)))
    with pytest.raises(ValueError, match="must broadcast"):
        METHOD.state(k, v, key_mask=np.ones((2, 4), bool))
    with pytest.raises(ValueError, match="must broadcast"):
        METHOD.state(k, v, key_mask=np.ones((7, 2, 5), bool))


# --- nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 5, 3)])
def test_a_batch_of_nothing_has_an_output_of_nothing(
    library: Library, shape: tuple[int, ...]
) -> None:
    q, k, v = (library.put(x) for x in tokens(*shape))
    out = METHOD.state(k, v).extend(k, v).query(q)
    assert tuple(out.value.shape) == shape
    assert out.certificate.bound.shape == shape[:-2]


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_values_of_no_width(library: Library) -> None:
    q, k, v = (library.put(x) for x in tokens(5, 3))
    out = METHOD.state(k, v[:, :0]).query(q)
    assert tuple(out.value.shape) == (5, 0)
    pairs = aa.tensor_attention(q, k, k, v[:, :0], v[:, :0], degree=2)
    assert tuple(pairs.value.shape) == (5, 0)
    assert np.all(pairs.certificate.rows == 0)


# --- files ----------------------------------------------------------------------------------------


def saved(folder: Path, **changes: Any) -> Path:
    """Return the path of a saved state, with some arrays replaced; None leaves one out."""
    _, k, v = tokens(2, 6, 3)
    METHOD.state(k, v).save(folder / "state.npz")
    with np.load(folder / "state.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays |= changes
    np.savez(folder / "state.npz", **{n: x for n, x in arrays.items() if x is not None})
    return folder / "state.npz"


def test_a_file_written_by_numpy_itself_is_read(tmp_path: Path) -> None:
    assert aa.PolynomialState.load(saved(tmp_path)).keys.tolist() == [6, 6]


CHANGES: dict[str, dict[str, Any]] = {
    "radius 0": {"radius": np.zeros(2)},
    "radius NaN": {"radius": np.full(2, np.nan)},
    "radius below 0": {"radius": np.full(2, -1.0)},
    "radius far below 0": {"radius": np.full(2, -9.0)},
    "radius of another shape": {"radius": np.ones(3)},
    "reach 0": {"reach": 0.0},
    "reach inf": {"reach": np.inf},
    "no keys": {"keys": np.zeros(2, int)},
    "more keys": {"keys": np.array([6, 60])},
    "keys of floats": {"keys": np.full(2, 6.0)},
    "keys of another shape": {"keys": np.array(6)},
    "additions": {"additions": -5},
    "additions 0": {"additions": 0},
    "high below low": {"high": np.full((2, 3), -2.0)},
    "high too low": {"high": np.full((2, 3), -0.99)},
    "high NaN": {"high": np.full((2, 3), np.nan)},
    "sums NaN": {"sums": np.full((2, 35, 4), np.nan)},
    "sums of another rank": {"sums": np.ones((2, 34, 4))},
    "sums of integers": {"sums": np.ones((2, 35, 4), int)},
    "centre of another dtype": {"centre": np.zeros((2, 1, 3), np.float32)},
    "centre of another width": {"centre": np.zeros((2, 1, 4))},
    "scale": {"scale": -1.0},
    "scale NaN": {"scale": np.nan},
    "half range NaN": {"half_range": np.nan},
    "half range of a minimax": {"basis": "minimax"},
    "basis": {"basis": "fourier"},
    "tolerance": {"tolerance": 2.0},
    "coefficients": {"coefficients": np.array([1.0, 1.0])},
    "coefficients of another polynomial": {
        "coefficients": np.array([1, 1.001, 0.5, 1 / 6, 1 / 24])
    },
    "no coefficients": {"coefficients": np.zeros(0)},
    "format": {"format": "approxattn polynomial state 0"},
    "format of two": {"format": np.array(["a", "b"])},
    "objects": {"radius": np.array([{}, {}], object)},
    "one more": {"extra": np.zeros(1)},
    **{f"without {name}": {name: None} for name in ("sums", "keys", "tolerance", "format")},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_with_numbers_that_no_state_has_is_refused(change: str, tmp_path: Path) -> None:
    path = saved(tmp_path, **CHANGES[change])
    with pytest.raises(ValueError, match=r"state\.npz.* holds no approxattn polynomial state"):
        aa.PolynomialState.load(path)


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A small file can promise any number of zeros."""
    path = saved(tmp_path)
    with np.load(path) as file:
        np.savez_compressed(path, **{name: file[name] for name in file.files})
    with pytest.raises(ValueError, match="compressed, or larger than the file"):
        aa.PolynomialState.load(path)


def npy(array: HostArray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def huge() -> bytes:
    """An archive whose arrays promise 8 TB each."""
    file = io.BytesIO()
    header = npy(np.zeros(1)).replace(b"(1,), }      ", b"(10**12,), } ", 1)
    big = npy(np.zeros(1)).replace(b"(1,), }             ", b"(1000000000000,), } ", 1)
    with zipfile.ZipFile(file, "w") as archive:
        for name in (
            "format",
            "basis",
            "coefficients",
            "centre",
            "sums",
            "radius",
            "high",
            "low",
            "keys",
            "scale",
            "reach",
            "additions",
            "half_range",
            "tolerance",
        ):
            archive.writestr(f"{name}.npy", big if name == "sums" else header)
    return file.getvalue()


FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "text": b"no state at all",
    "npy": npy(np.zeros(3)),
    "pickle": pickle.dumps([1, 2]),
    "huge": huge(),
    "zip of text": zipfile.ZIP_STORED.to_bytes(1, "big") * 100,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ValueError, match=r"foreign\.npz.* holds no approxattn polynomial state"):
        aa.PolynomialState.load(path)


def test_a_cut_or_flipped_file_is_refused_or_is_the_same(tmp_path: Path) -> None:
    _, k, v = tokens(2, 6, 3)
    state, path = METHOD.state(k, v), tmp_path / "state.npz"
    state.save(path)
    whole = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    damaged = [whole[:end] for end in range(0, len(whole), 97)]
    for place in rng.integers(0, len(whole), 150):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        try:
            loaded = aa.PolynomialState.load(path)
        except ValueError as error:
            assert "state.npz" in str(error)  # noqa: PT017
            refused += 1
        else:  # a bit that says nothing, such as a date
            np.testing.assert_array_equal(loaded.sums, state.sums)
            np.testing.assert_array_equal(loaded.radius, state.radius)
    assert refused > 100


def test_saving_over_a_state_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, k, v = tokens(2, 6, 3)
    METHOD.state(k, v).save(tmp_path / "state")
    before = (tmp_path / "state").read_bytes()

    def full(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"state cannot be written \(no space left.*: make room"):
        METHOD.state(k[:1], v[:1]).save(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_goes_through_a_link_and_says_what_is_in_its_way(tmp_path: Path) -> None:
    _, k, v = tokens(2, 6, 3)
    (tmp_path / "link").symlink_to(tmp_path / "state")
    METHOD.state(k, v).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert aa.PolynomialState.load(tmp_path / "state").keys.tolist() == [6, 6]
    for place, remedy in ((tmp_path, "name a file in it"), (tmp_path / "no" / "s", "make its")):
        with pytest.raises(OSError, match=f"cannot be written .*: {remedy}"):
            METHOD.state(k, v).save(place)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        aa.PolynomialState.load(tmp_path / "nothing")


# --- arguments ------------------------------------------------------------------------------------


def test_what_is_no_state_no_centre_and_no_flag_is_refused() -> None:
    _, k, v = tokens(2, 6, 3)
    state = METHOD.state(k, v)
    with pytest.raises(TypeError, match=r"other\(=3\) must be a PolynomialState"):
        state.merge(3)
    with pytest.raises(ValueError, match=r"centre has shape \(2, 2, 3\): it must broadcast to"):
        METHOD.state(k, v, centre=k[:, :2])
    with pytest.raises(ValueError, match="centre has shape"):
        METHOD.state(k, v, centre=k[:, :1, :2])
    with pytest.raises(TypeError, match="centre has dtype complex128"):
        METHOD.state(k, v, centre=k[:, :1] + 0j)
    with pytest.raises(ValueError, match="centre holds NaN"):
        METHOD.state(k, v, centre=np.nan * k[:, :1])
    with pytest.raises(TypeError, match=r"fallback\(='no'\) must be True or False"):
        aa.Polynomial(tolerance=0.1, fallback="no")
    for degree in (True, 2.5, "4"):
        with pytest.raises(TypeError, match=r"degree\(=.*\) must be an int"):
            aa.Polynomial(degree=degree)
        with pytest.raises(TypeError, match=r"degree\(=.*\) must be an int"):
            aa.tensor_attention(*tokens(5, 3), *tokens(5, 3)[:2], degree=degree)
    with pytest.raises(TypeError, match="tolerance"):
        aa.Polynomial(tolerance="a")
    assert aa.Polynomial(degree=np.int64(4)).state(k, v, half_range=1.0).polynomial.degree == 4


@pytest.mark.parametrize("half_range", [-1.0, np.inf, np.nan, "a"])
def test_a_half_range_is_a_finite_number(half_range: Any) -> None:
    _, k, v = tokens(6, 3)
    with pytest.raises((TypeError, ValueError), match="half_range"):
        aa.Polynomial(degree=4).state(k, v, half_range=half_range)


# --- sizes ----------------------------------------------------------------------------------------


def test_states_that_would_not_fit_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    _, k, v = tokens(20, 128)

    def work(*_: object) -> None:
        pytest.fail("work began")

    monkeypatch.setattr("approxattn.monomials.contraction.multiplicities", work)
    wide = aa.Polynomial(degree=8, basis="taylor")
    with pytest.raises(MemoryError, match=r"would take \d+ bytes .*lower the degree"):
        wide.state(k, v)
    with pytest.raises(MemoryError, match=r"would take \d+ bytes .*lower the degree"):
        aa.tensor_attention(v, k, k, v, v, degree=8)


@pytest.mark.parametrize("have", [2.0**22, 2.0**60])
def test_a_state_takes_no_more_than_half_of_a_machine(
    have: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, k, v = tokens(20, 24)
    monkeypatch.setattr(memory, "memory", lambda: have)
    limit = rf"limit is {min(2.0**34, have / 2) / 2**30:.3g} GiB"
    with pytest.raises(MemoryError, match=limit):
        aa.Polynomial(degree=4 if have < 2**30 else 12, basis="taylor").state(k, v)
    aa.Polynomial(degree=2, basis="taylor").state(k, v)


def test_the_size_announced_is_about_what_is_taken() -> None:
    _, k, v = tokens(2, 30, 12)
    state = aa.Polynomial(degree=6, basis="taylor").state(k, v)
    announced = memory.state_bytes(12, 6, 13, 2, 8)
    assert state.sums.nbytes < announced < 40 * state.sums.nbytes


def test_features_that_would_not_fit_are_not_made_by_attention() -> None:
    q, k, v = tokens(20, 64)
    out = aa.attention(q, k, v, aa.Polynomial(degree=30, basis="taylor"))
    assert out.certificate.facts["evaluated by"] == "scores"
    assert np.isfinite(out.certificate.bound)
    grads = aa.attention_vjp(q, k, v, v, aa.Polynomial(degree=30, basis="taylor"))
    assert np.isfinite(grads.certificate.dk).all()
