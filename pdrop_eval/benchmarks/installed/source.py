"""What a function of a task reaches, read from its source: names, words and packages. Nothing is imported.

A task's file says neither which medium it shows nor what it needs to be scored; its functions do. Only what a
function reaches counts: one file often holds the functions of several tasks.
"""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pdrop_eval.benchmarks.installed.chain import Function, module_file

_MOST = 400  # definitions that are followed


@dataclass
class Reached:
    """What some functions reach.

    Attributes:
        imports: Packages outside of lmms-eval, by their first names.
        modules: lmms-eval's own modules, by whole names.
        names: Names and attributes.
        words: Texts, docstrings apart.
        late: Packages that are imported only as a function is called, and that no `try` guards.
        files: Where it is written.
        nodes: The definitions themselves.
    """

    imports: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    files: set[Path] = field(default_factory=set)
    nodes: list[ast.stmt] = field(default_factory=list)


@dataclass
class _Module:
    """A file: its definitions and what it imports, by the names that they have there."""

    path: Path
    definitions: dict[str, list[ast.stmt]]
    imported: dict[str, tuple[str, str | None]]
    tree: ast.Module


def reach(*functions: Function | None) -> Reached:
    """What functions reach, in their own modules and in others of lmms-eval's tasks."""
    found = Reached()
    todo = [(one.file, one.name) for one in functions if one is not None and one.file is not None]
    seen: set[tuple[Path, str]] = set()
    while todo and len(seen) < _MOST:
        path, name = todo.pop()
        module = _read(path)
        if (path, name) in seen or module is None:
            continue
        seen.add((path, name))
        found.files.add(path)
        for node in module.definitions.get(name, []):
            found.nodes.append(node)
            for used in _visit(node, found):
                todo += _follow(module, used, found)
        if name in module.imported:
            todo += _follow(module, name, found)
    return found


def module_imports(path: Path) -> list[tuple[str, int]]:
    """The packages outside of lmms-eval that a file imports as it is loaded, with their lines.

    Imports in functions, and those that a `try` guards, are not among them.
    """
    module = _read(path)
    found = []
    for node in module.tree.body if module else ():
        for name in _packages(node):
            found.append((name, node.lineno))
    return found


def module_files(path: Path) -> list[Path]:
    """The files of lmms-eval's modules that a file imports as it is loaded."""
    module = _read(path)
    names = [
        f"{node.module}" for node in (module.tree.body if module else ()) if isinstance(node, ast.ImportFrom)
    ]
    return [found for name in names if (found := module_file(name)) is not None]


def _follow(module: _Module, used: str, found: Reached) -> Iterator[tuple[Path, str]]:
    """What a name of a module leads to: a definition beside it, or in another module."""
    if used in module.definitions:
        yield module.path, used
    if used not in module.imported:
        return
    origin, name = module.imported[used]
    if origin.split(".")[0] != "lmms_eval":
        found.imports.add(origin.split(".")[0])
        return
    found.modules.add(origin)
    path = module_file(origin) if origin.startswith("lmms_eval.tasks") else None
    if path is not None and name is not None:
        yield path, name


def _visit(node: ast.AST, found: Reached) -> Iterator[str]:
    """Notes what a definition says, and yields the plain names in it."""
    documented = {id(text) for text in _docstrings(node)}
    guarded = {id(inner) for part in ast.walk(node) if isinstance(part, ast.Try) for inner in ast.walk(part)}
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found.names.add(part.id)
            yield part.id
        elif isinstance(part, ast.Attribute):
            found.names.add(part.attr)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in documented:
            found.words.add(part.value)
        elif isinstance(part, (ast.Import, ast.ImportFrom)):
            packages = set(_packages(part))
            found.imports |= packages - {"lmms_eval"}
            if id(part) not in guarded:
                found.late |= packages
            if isinstance(part, ast.ImportFrom) and part.module and part.module.startswith("lmms_eval."):
                found.modules.add(part.module)


def _docstrings(node: ast.AST) -> Iterator[ast.AST]:
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) and part.body:
            first = part.body[0]
            if isinstance(first, ast.Expr):
                yield first.value


@cache
def _read(path: Path) -> _Module | None:
    try:
        with warnings.catch_warnings():  # of lmms-eval's own: a backslash in a text
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    module = _Module(path, {}, {}, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module.imported[alias.asname or alias.name.split(".")[0]] = (alias.name, None)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                module.imported[alias.asname or alias.name] = (node.module, alias.name)
    for node in tree.body:
        for name in _defined(node):
            module.definitions.setdefault(name, []).append(node)
    return module


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module gives something to."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
    elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
        for inner in ast.walk(node):
            if inner is not node and isinstance(inner, (ast.Assign, ast.FunctionDef)):
                yield from _defined(inner)


def _packages(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.split(".")[0]
    elif isinstance(node, ast.If):
        for inner in [*node.body, *node.orelse]:
            yield from _packages(inner)
