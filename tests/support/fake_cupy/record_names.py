"""Record the names and signatures of CuPy from its wheel, which is read and never imported.

    python record_names.py cupy_cuda12x-14.2.0-cp311-cp311-manylinux2014_x86_64.whl

writes `names.json`: for every name that `cupy/__init__.py` and `cupy/linalg/__init__.py` import its
signature, or "ufunc", "type", "numpy" (NumPy's own object), "compiled" (no source in the wheel).
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
NAMES = HERE / "names.json"


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as files:
        version = Path(wheel).name.split("-")[1]
        found: dict[str, object] = {"version": version}
        for module in ("cupy", "cupy.linalg"):
            found[module] = dict(sorted(recorded(files, module).items()))
    NAMES.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")


def recorded(files: zipfile.ZipFile, module: str) -> dict[str, str]:
    """Return what is known of each public name that a package defines or imports."""
    tree = parsed(files, module)
    assert tree is not None
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = signature(node)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            for target in node.targets:  # acos = arccos
                found[ast.unparse(target)] = found.get(node.value.id, "compiled")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names if node.module != module else ():  # not its own modules
                found[alias.asname or alias.name] = look_up(files, node.module or "", alias.name)
    return {name: kind for name, kind in found.items() if not name.startswith("_")}


def look_up(files: zipfile.ZipFile, module: str, name: str) -> str:
    if module.split(".")[0] != "cupy":
        return "numpy"
    tree = parsed(files, module)
    if tree is None:
        return "compiled"
    for node in tree.body:
        match node:
            case ast.FunctionDef() if node.name == name:
                return signature(node)
            case ast.ClassDef() if node.name == name:
                return "type"
            case ast.Assign(targets=[ast.Name(id=own)]) if own == name:
                return assigned(node.value)
            case ast.ImportFrom(module=str(source)) if source != module and any(
                a.name == name for a in node.names
            ):
                return look_up(files, source, name)
    return "compiled"


def assigned(value: ast.expr) -> str:
    """Return the kind of a module's constant: CuPy makes its ufuncs so."""
    text = ast.unparse(value)
    makes = ("create_ufunc", "create_comparison", "_core.", "ufunc.")
    return "ufunc" if any(word in text for word in makes) else "compiled"


def signature(node: ast.FunctionDef) -> str:
    """Return the arguments, each default as None: whether there is one is all that counts."""
    every = (*node.args.args, *node.args.posonlyargs, *node.args.kwonlyargs)
    for argument in (*every, node.args.vararg, node.args.kwarg):
        if argument is not None:
            argument.annotation = None
    none = ast.Constant(None)
    node.args.defaults = [none for _ in node.args.defaults]
    node.args.kw_defaults = [d and none for d in node.args.kw_defaults]
    return f"({ast.unparse(node.args)})"


def parsed(files: zipfile.ZipFile, module: str) -> ast.Module | None:
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        if name in files.namelist():
            return ast.parse(files.read(name))
    return None


if __name__ == "__main__":
    main(sys.argv[1])
