"""In the same process: what a function raises is a failed check, what it changes is put back, and
only the user's own interrupt gets through.
"""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from approxattn.testing.conduct import CHECKS, SETTINGS
from proofs_check.kit import check_attention


def right(q: Any, k: Any, v: Any) -> Any:
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e @ v / e.sum(axis=-1, keepdims=True)


def with_deed(deed: Callable[[], Any]) -> Callable[..., Any]:
    """A deed, and then the right attention."""

    def attention(q: Any, k: Any, v: Any, *dout: Any) -> Any:
        del dout
        deed()
        return right(q, k, v)

    return attention


def raises(error: BaseException) -> Callable[..., Any]:
    def deed() -> None:
        raise error

    return with_deed(deed)


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(0),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException("x"),
        type("Odd", (BaseException,), {"__str__": lambda _: 1 / 0})(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_to_leave_is_to_fail_every_check(error: BaseException) -> None:
    found = check_attention(raises(error), gradient=raises(error))
    asked = [f for f in found.findings if f.held is not None and f.name not in CHECKS]
    assert len(asked) >= 18
    assert not any(f.held for f in asked), found
    assert type(error).__name__ in found["repeatable"].detail
    assert type(error).__name__ in found["gradient dk"].detail


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Interrupts are heard, also where a shell in the background has switched them off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_an_interrupt_from_the_keyboard_gets_through() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        check_attention(with_deed(lambda: signal.raise_signal(signal.SIGINT)))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("keyboard")
def test_it_gets_through_a_function_that_catches_everything() -> None:
    def attention(q: Any, k: Any, v: Any) -> Any:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:  # noqa: BLE001 - that is the point
            return right(q, k, v)

    with pytest.raises(KeyboardInterrupt):
        check_attention(attention)


def test_a_handler_of_the_user_is_called() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with pytest.raises(KeyboardInterrupt):
            check_attention(with_deed(lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1]


def test_in_another_thread_an_interrupt_is_the_function_s_own() -> None:
    """No signal is handled there."""
    findings = []

    def examine() -> None:
        findings.append(check_attention(raises(KeyboardInterrupt())))

    thread = threading.Thread(target=examine)
    thread.start()
    thread.join()
    assert not findings[0].ok


SHARED: Any = np.random
DEEDS: dict[str, tuple[Callable[[], Any], str]] = {
    "seed": (lambda: SHARED.seed(0), "random numbers of others are kept"),
    "draw": (lambda: SHARED.random(), "random numbers of others are kept"),
    "shuffle": (lambda: random.shuffle([1, 2, 3]), "random numbers of others are kept"),
    "seterr": (lambda: np.seterr(divide="ignore"), "error handling of NumPy is kept"),
    "chdir": (lambda: os.chdir("/"), "environment is kept"),
    "environ": (lambda: os.environ.update(A_NAME="1"), "environment is kept"),
    "unset": (lambda: os.environ.pop("PATH", None), "environment is kept"),
    "print": (lambda: print("é"), "nothing is printed"),
    "stderr": (lambda: print("x", file=sys.stderr), "nothing is printed"),
    "buffer": (lambda: sys.stdout.buffer.write(b"\xff"), "nothing is printed"),
    "close": (lambda: (print("x"), sys.stdout.close()), "nothing is printed"),
}


@pytest.mark.parametrize("name", DEEDS)
def test_conduct_is_found_and_put_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    deed, check = DEEDS[name]
    before = {key: repr(setting.read()) for key, setting in SETTINGS.items()}
    found = check_attention(with_deed(deed))
    assert [f.name for f in found.findings if f.held is False] == [check], found
    assert {key: repr(setting.read()) for key, setting in SETTINGS.items()} == before
    assert capsys.readouterr() == ("", "")


def test_conduct_is_seen_also_when_the_call_fails_and_in_the_gradient() -> None:
    def attention(q: Any, k: Any, v: Any) -> Any:
        if k.shape[-2] != v.shape[-2]:
            q[...] = 0
            print("no")
            raise ValueError
        return right(q, k, v)

    found = check_attention(attention)
    names = {f.name for f in found.findings if f.held is False}
    assert names == {"nothing is printed", "inputs are not written to"}

    def gradient(q: Any, k: Any, v: Any, dout: Any) -> Any:
        dout += 1
        return 0 * q, 0 * k, 0 * v

    found = check_attention(right, gradient=gradient)
    assert "g changed" in found["inputs are not written to"].detail


def test_a_subclass_of_arrays_is_found() -> None:
    def masked(q: Any, k: Any, v: Any) -> Any:
        out = right(q, k, v)
        return np.ma.masked_array(out, mask=np.zeros(out.shape, bool))

    found = check_attention(masked)
    assert "MaskedArray" in found["plain arrays are returned"].detail


def test_a_warning_is_no_print() -> None:
    def deed() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("look here", stacklevel=1)

    assert check_attention(with_deed(deed)).ok


def test_what_is_printed_outside_of_calls_is_left_alone() -> None:
    stream = io.StringIO()
    print("before", file=stream)
    assert check_attention(right).ok
    print("after", file=sys.stdout)
