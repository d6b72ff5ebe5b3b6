"""The folder of a run, beside its output: what was asked, and which blocks are written.

For an output O.npy it is O.npy.run:

- manifest.json says what was asked: digests of the inputs, method, settings, version. It is written
  whole, before any block.
- value.npy (or value.zarr) and rows.npy hold the output and the bounds of its rows; of a gradient
  dq.npy, dq.rows.npy and so on do. All of their bytes are asked of the disk at the start, so that
  a full one is found before any work.
- block-NAME.json says that block NAME is on the disk, with its certificate. It is written whole,
  after the bytes of the block are: a block is there or not, whatever kills whom.

When all blocks are there the output gets its name, and the manifest the certificate and the state
of the output's files. A call that asks for the same continues; one that asks for something else is
refused, and so is one whose finished output has been written to since.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from approxattn.certificate import Certificate
from approxattn.certificate.plain import plain
from approxattn.distributed.targets import Target, make_targets
from approxattn.sharding.tasks import joined
from approxattn.whole_files import locked, make_folder, write_text

FORMAT = "approxattn sharded run 3"
SUMMARY = ("target", "theorem", "failure", "facts", "unmet", "promised")


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A run that writes to `out`."""

    out: Path
    terms: Mapping[str, Any]
    targets: Mapping[str, Target]

    @property
    def folder(self) -> Path:
        """Where the run keeps its files."""
        return self.out.with_name(self.out.name + ".run")

    def begin(self) -> bool:
        """Make the folder, or look at the one that is there; tell whether the run is finished.

        Raises
        ------
        ValueError
            If another run, or something that is none, stands there, or the output of a finished
            one is no longer what it wrote.
        NotWrittenError
            If there is no room.
        """
        manifest = self._read_manifest()
        if manifest is None:
            for target in self.targets.values():
                path = target.final(self.folder, self.out)
                if target.suffix is not None and path.exists():
                    msg = f"out(={str(path)!r}) exists and is no run's: remove it or name another"
                    raise ValueError(msg)
            self._make()
            return False
        for name in sorted({*self.terms, *manifest["terms"]}):
            asked, there = self.terms.get(name), manifest["terms"].get(name)
            if asked != there:
                msg = (
                    f"out(={str(self.out)!r}) belongs to a run with {name} {there}, not {asked}: "
                    f"ask for the same, name another output, or remove it and {self.folder.name}"
                )
                raise ValueError(msg)
        if "certificate" not in manifest:
            return False
        if manifest["outputs"] != self._outputs():
            msg = (
                f"out(={str(self.out)!r}) is not what its run wrote, so its bounds say nothing of "
                f"it: name another output, or remove it and {self.folder.name}"
            )
            raise ValueError(msg)
        return True

    def _outputs(self) -> dict[str, str]:
        """Return what changes when a finished output does."""
        return {n: t.state(self.folder, self.out) for n, t in self.targets.items()}

    def missing(self, blocks: list[str]) -> list[str]:
        """Return the blocks that are not written yet."""
        return [name for name in blocks if not self._record(name).is_file()]

    def finish(self, blocks: list[str]) -> None:
        """Give the output its name, with the certificates of all blocks in their order."""
        parts = [json.loads(self._record(name).read_text()) for name in blocks]
        names = sorted({name for part in parts for name in part})
        joint = {name: _summary([part[name] for part in parts if name in part]) for name in names}
        for target in self.targets.values():
            target.place(self.folder, self.out)
        manifest = {
            "format": FORMAT,
            "terms": self.terms,
            "certificate": joint,
            "outputs": self._outputs(),
        }
        write_text(self.folder / "manifest.json", json.dumps(manifest, indent=1))
        for name in blocks:
            self._record(name).unlink(missing_ok=True)

    def _record(self, block: str) -> Path:
        return self.folder / f"block-{block}.json"

    def certificate(self, name: str) -> dict[str, Any]:
        """Return what the certificates of all blocks say of an output, and their largest bound."""
        manifest = self._read_manifest() or {}
        found: dict[str, Any] = dict(manifest["certificate"][name])
        found["bound"] = np.array(found["bound"], np.float64)
        if found["promised"] is not None:
            found["promised"] = np.array(found["promised"], np.float64)
        return found

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing to the same run."""
        make_folder(self.folder)
        with (self.folder / "lock").open("w") as file:
            if not locked(file.fileno()):
                msg = f"out(={str(self.out)!r}) is being written by another run: wait for it"
                raise ValueError(msg)
            yield

    def _read_manifest(self) -> dict[str, Any] | None:
        path = self.folder / "manifest.json"
        if not path.exists():
            return None
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if manifest["format"] == FORMAT and isinstance(manifest["terms"], dict):
                return manifest
            why = f"its format is {manifest['format']!r}, not {FORMAT!r}"
        except (ValueError, LookupError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
        msg = f"{path} is no manifest of this version ({why}): remove {self.folder}"
        raise ValueError(msg)

    def _make(self) -> None:
        try:
            make_targets(self.targets.values(), self.folder)
            text = json.dumps({"format": FORMAT, "terms": self.terms}, indent=1)
            write_text(self.folder / "manifest.json", text)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise


def written(certificates: Mapping[str, Certificate]) -> str:
    """Return the text of a block's record."""
    return json.dumps({name: _plain(c) for name, c in certificates.items()})


def _plain(certificate: Certificate) -> dict[str, Any]:
    found = {name: plain(getattr(certificate, name), arrays=True) for name in SUMMARY}
    return {**found, "bound": plain(certificate.bound, arrays=True)}


def _summary(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the records of blocks say together."""
    bounds = np.max([np.array(part["bound"], np.float64) for part in parts], axis=0)
    certificates = [
        Certificate(
            rows=np.zeros((*bounds.shape, 1)),
            promised=None if part["promised"] is None else np.array(part["promised"], np.float64),
            unmet=tuple(part["unmet"]),
            **{name: part[name] for name in ("target", "theorem", "failure", "facts")},
        )
        for part in parts
    ]
    return _plain(joined(certificates, bounds[..., None]))
