"""Plans as files: JSON with a format and a version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from approxattn.methods.naming import method_of
from approxattn.methods.protocol import described
from approxattn.whole_files import write_text

FORMAT, VERSION = "approxattn plan", 1

Found = TypeVar("Found")


class PlanFileError(ValueError):
    """A file holds no plan, or one that this version cannot read; the message names it."""


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Write what `state_of` returned, under the name of its kind."""
    write_text(path, json.dumps({"format": FORMAT, "version": VERSION, **content}, indent=1) + "\n")


def read(path: str | Path, kind: str, build: Callable[[Any], Found]) -> Found:
    """Return what a file holds under the name of its kind."""
    data = Path(path).read_bytes()
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no JSON: it is damaged, or something else; write it with save()"
        raise PlanFileError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        msg = f"{path} holds no plan: its 'format' must be {FORMAT!r}; write it with save()"
        raise PlanFileError(msg)
    if content.get("version") != VERSION:
        msg = (
            f"{path} has version {content.get('version')!r}, and this package reads {VERSION}: use "
            "the version of approxattn that wrote it, or plan anew"
        )
        raise PlanFileError(msg)
    if kind not in content:
        others = sorted(set(content) - {"format", "version"})
        msg = f"{path} holds no {kind!r} but {', '.join(others) or 'nothing'}: load it as that"
        raise PlanFileError(msg)
    try:
        return build(content[kind])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        msg = f"{path} holds a damaged plan ({type(error).__name__}: {error}): plan anew"
        raise PlanFileError(msg) from error


def state_of(record: Any) -> dict[str, Any]:
    """Return the fields of a record as what JSON knows, methods as their texts.

    Infinity and NaN are written as JSON of Python does, and read back.
    """
    return {f.name: _plain(f.name, getattr(record, f.name)) for f in dataclasses.fields(record)}


def _plain(name: str, value: Any) -> Any:
    if name == "method":
        return _text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return state_of(value)
    if isinstance(value, tuple | list):
        return [_plain("", x) for x in value]
    return value


def _text(method: Any) -> str:
    """Return the text of a method, which must read back as the same."""
    text = described(method)
    try:
        same = bool(method_of(text) == method)
    except ValueError:
        same = False
    if not same:
        msg = (
            f"{type(method).__name__} cannot be saved, because no text describes its settings: "
            "plan with candidates whose settings are numbers and words"
        )
        raise ValueError(msg)
    return text


def with_method(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state with the method that its text names."""
    return {**state, "method": method_of(state["method"])}
