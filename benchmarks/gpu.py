"""Measure attention on a GPU: ceilings, accuracy, speed, growth; the most valuable first.

    ./run.sh bench gpu --budget 540          # ten minutes; again, to go on where it stopped
    ./run.sh bench gpu --dry-run --out DIR   # every step at tiny sizes, on the CPU

Figures go to docs/results/<device>-<date>.jsonl as soon as they are found (`gpu_study.records` has
the schema), a summary and a picture beside it. A second run with the same --out goes on: what is
there, of the same code, is not measured again. An item that fails is a record with the error, and
the next one follows. Nothing of the device's settings is touched.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from gpu_study import records
from gpu_study.items import DRY, FULL, items
from gpu_study.library import LIBRARIES, Library
from gpu_study.measure import measure
from gpu_study.summary import summary

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
OUT = "docs/results, of a dry run a new folder of its own"
CLOSING = 10.0
"""Seconds kept for the summary and the picture."""


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    try:
        library = Library("numpy" if options.dry_run else options.library)
    except (ImportError, RuntimeError, AssertionError) as error:
        print(f"no GPU can be used through {options.library}: {error}", file=sys.stderr)
        return 2
    path = file_of(options.out, library.device)
    left = run(path, library, options)
    found = [r for r in records.read(path) if r["source"] == records.source()]
    close(path, found, library.device)
    errors = sum("error" in record["result"] for record in found)
    print(f"{path}: {len(found)} records, {errors} errors, {left} items left for another run")
    return 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--budget", type=float, default=540.0, help="seconds in all")
    parser.add_argument("--out", type=Path, help=f"folder, or a .jsonl file; {OUT}")
    parser.add_argument("--library", choices=LIBRARIES[:2], default="cupy")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--only", nargs="*", default=[], help="names of items")
    options = parser.parse_args(arguments)
    if options.out is None:  # a dry run says nothing of any device
        options.out = Path(tempfile.mkdtemp(prefix="gpu-study-")) if options.dry_run else RESULTS
    return options


def file_of(out: Path, device: str) -> Path:
    """Return the file of this device and day, or the one that was named."""
    if out.suffix == ".jsonl":
        return out
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return out / f"{name}-{today}.jsonl"


def run(path: Path, library: Library, options: argparse.Namespace) -> int:
    """Measure what has no record yet while there is time; return how many items are left."""
    end = time.monotonic() + options.budget - CLOSING
    common = {"library": library.name, "source": records.source()}
    there = {records.key(record) for record in records.read(path)}
    if records.key(records.environment(library)) not in there:
        records.write(path, records.environment(library))
    left = 0
    for item in items(DRY if options.dry_run else FULL):
        record = {"name": item.name, "arguments": dict(item.arguments), **common}
        if records.key(record) in there or (options.only and item.name not in options.only):
            continue
        if time.monotonic() + 2 * item.seconds > end and not options.dry_run:
            left += 1
            continue
        there.add(records.key(record))
        start = time.monotonic()
        seconds = 0.0 if options.dry_run else item.seconds / 2
        try:
            result = measure(item.name, dict(item.arguments), library, seconds)
        except Exception as error:  # noqa: BLE001 - one failure must not cost the rest
            result = {"error": f"{type(error).__name__}: {error}"[:300]}
        records.write(path, record | {"took": time.monotonic() - start, "result": result})
    return left


def close(path: Path, found: list[records.Record], device: str) -> None:
    """Write the summary and, where there is matplotlib, the picture."""
    text = json.dumps(summary(found), indent=1, sort_keys=True) + "\n"
    path.with_suffix(".summary.json").write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        from gpu_study.plot import draw

        draw(found, path.with_suffix(".svg"), f"Attention on {device}")


if __name__ == "__main__":
    sys.exit(main())
