"""The page on faults: share caught, by kind, and what survived, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from proofs_check.faults.listed import FAULTS, REASONS
from proofs_check.faults.run import GOAL, Outcome, Outcomes
from proofs_check.report.wrapping import wrapped

_OPENING = """\
How much may be trusted to the checks of `proofs_check`? Each fault below replaces a piece of one
function of `approxattn` by a wrong one, in a process of its own (nothing is written to disk), and
the checks named look at the result: claims about certificates by search, slopes by finite
differences, closed forms by counting, means by drawing. They hold the code against definitions and
theorems, never against the code as it was. The list was written before it was known which faults
are caught. Of the first 226 faults 19 survived at first (92 % were caught). Checks were then made
stronger, so the share below says what is caught now, not what a fault that nobody thought of would
meet. One of the 19 (the bias of the keys, to which softmax is blind) changed nothing and was
replaced by one that does.

A later list is about what surrounds the formulas: precision modes, masks, overflow, promises,
files, copies, threads, audits in processes, messages, sizes. Its checks are tests of the suite, so
it needs a checkout. Of its first 69 faults 18 survived at first (74 % were caught): 4 because the
tests of PyTorch and JAX are skipped where neither is installed (stand-ins for both now catch them),
12 because a test looked at too little, and 2 because they changed nothing (they were replaced).

Written by `python -m proofs_check faults --out docs/generated/faults.md`; a text that no longer
occurs exactly once in the function it names stops it."""


def markdown(outcomes: Outcomes) -> str:
    """Return the page."""
    parts = (_heading(outcomes), _kinds(outcomes), _survivors(outcomes), _all(outcomes))
    return wrapped("\n".join(line for part in parts for line in part)) + "\n"


def _heading(outcomes: Outcomes) -> Iterator[str]:
    caught = sum(o.caught for o in outcomes.faults)
    yield "# Deliberate faults"
    yield ""
    yield _OPENING
    yield ""
    yield (
        f"**Caught: {caught} of {len(outcomes.faults)} ({100 * outcomes.share:.1f} %; goal "
        f"{100 * GOAL:.0f} %).**"
    )
    alarm = (
        "no check complains"
        if outcomes.sound
        else f"{outcomes.control.check} {outcomes.control.complaint}".strip()
    )
    yield f"Control, all checks on the code as it is: {alarm}."


def _kinds(outcomes: Outcomes) -> Iterator[str]:
    total = Counter(FAULTS[o.key].kind for o in outcomes.faults)
    caught = Counter(FAULTS[o.key].kind for o in outcomes.faults if o.caught)
    yield from ("", "| kind | faults | caught |", "|---|---|---|")
    for kind, count in total.most_common():
        yield f"| {kind} | {count} | {caught[kind]} |"


def _survivors(outcomes: Outcomes) -> Iterator[str]:
    survivors = [o for o in outcomes.faults if not o.caught]
    yield from ("", "## Survivors", "")
    if not survivors:
        yield "None."
    for o in survivors:
        fault = FAULTS[o.key]
        reason = REASONS.get(o.key) or o.complaint or "no check notices; why is not known"
        yield (
            f"- `{o.key}` ({fault.kind}, `{fault.module}:{fault.function}`): {_code(fault.text)} "
            f"became {_code(fault.wrong)}. {reason}"
        )


def _all(outcomes: Outcomes) -> Iterator[str]:
    yield from (
        "",
        "## All faults",
        "",
        "| fault | kind | source | became | caught by |",
        "|---|---|---|---|---|",
    )
    for o in outcomes.faults:
        fault = FAULTS[o.key]
        cells = (f"`{o.key}`", fault.kind, _code(fault.text), _code(fault.wrong), _verdict(o))
        yield "| " + " | ".join(cells) + " |"


def _verdict(outcome: Outcome) -> str:
    return f"`{outcome.check}`" if outcome.caught else "-"


def _code(text: str) -> str:
    """A piece of source on one line of a table."""
    short = " ".join(text.split()).replace("|", "\\|")
    return f"`{short}`" if short else "(nothing)"
