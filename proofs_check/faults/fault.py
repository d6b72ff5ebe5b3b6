"""A deliberate fault: what is replaced in one function, and which checks are asked to notice.

A function is compared in its canonical form, `ast.unparse` of its syntax tree: comments, line
breaks and redundant parentheses are gone, so no formatter can make a fault stale.
"""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path

KINDS = (
    "sign",
    "factor",
    "degree",
    "scale",
    "rounding",
    "off-by-one",
    "wrong tail",
    "wrong transpose",
    "missing mask",
    "wrong normaliser",
    "wrong seed use",
    "missing term",
    "wrong gradient term",
    "wrong formula",
    "missing check",
    "leak",
    "side effect",
)
"""What can go wrong."""


class StaleFaultError(LookupError):
    """The list of faults and the source it speaks of have drifted apart."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Parameters
    ----------
    key : str
        Its name, the area first: "softmax.kappa".
    kind : str
        One of `KINDS`.
    module : str
        Dotted name of the module, in approxattn or proofs_check.
    function : str
        The function that is changed, or "Class.method".
    text, wrong : str
        What the canonical form of the function says, once, and what stands in its place.
    checks : tuple of str
        Names of the checks that look at it, quick ones first (`proofs_check.faults.checks`), or
        places of tests as pytest takes them: "tests/trust/test_quiet.py -k taylor".
    """

    key: str
    kind: str
    module: str
    function: str
    text: str
    wrong: str
    checks: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"kind(={self.kind!r}) of {self.key} must be one of {', '.join(KINDS)}"
            raise ValueError(msg)
        if self.text == self.wrong:
            msg = (
                f"wrong(={self.wrong!r}) of {self.key} is what the source says already: a fault "
                "changes something"
            )
            raise ValueError(msg)

    def path(self) -> Path:
        """Where the source lies; nothing of it is run."""
        package, _, rest = self.module.partition(".")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            msg = f"module(={self.module!r}) of {self.key}: {package} cannot be found; install it"
            raise StaleFaultError(msg)
        module = Path(spec.submodule_search_locations[0], *rest.split("."))
        return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")

    def faulted_source(self) -> str:
        """The module's source, in canonical form, with the fault in it.

        Raises
        ------
        StaleFaultError
            When there is no such function, or the text does not occur exactly once in it.
        """
        path = self.path()
        tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
        siblings, place = self._find(tree)
        canonical = ast.unparse(siblings[place])
        count = canonical.count(self.text)
        if count != 1:
            msg = f"{self.text!r} occurs {count} times in {self.function}, not once"
            raise self._stale(msg)
        siblings[place : place + 1] = ast.parse(canonical.replace(self.text, self.wrong)).body
        return ast.unparse(tree)

    def _find(self, tree: ast.Module) -> tuple[list[ast.stmt], int]:
        """Return the list of statements that holds the function, and its place there."""
        body = tree.body
        *classes, name = self.function.split(".")
        for owner in classes:
            body = next(
                (n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner), []
            )
        for place, node in enumerate(body):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return body, place
        msg = f"{self.module} has no function {self.function!r}"
        raise self._stale(msg)

    def _stale(self, what: str) -> StaleFaultError:
        return StaleFaultError(
            f"{self.key}: {what}: the list of faults is stale, bring it up to date"
        )


def fault(
    key: str, kind: str, module: str, function: str, text: str, wrong: str, *checks: str
) -> Fault:
    """Short form for the lists; `module` without "approxattn."."""
    return Fault(
        key=key,
        kind=kind,
        module=module if module.startswith("proofs_check.") else f"approxattn.{module}",
        function=function,
        text=text,
        wrong=wrong,
        checks=checks,
    )
