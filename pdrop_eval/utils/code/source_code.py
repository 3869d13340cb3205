"""What a module's own source says, and which modules of a package it imports: read, never executed.

Comments, docstrings and layout don't count, so an edit of them changes no hash.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from pdrop_eval.utils.code.kept import kept

_TYPE_CHECKING = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # of a statement, where others stand
_NO_MEANING = ("ctx", "kind", "type_comment")  # of a syntax tree
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def import_closure(modules: Iterable[str], package: Path) -> dict[str, Path]:
    """The modules of a package that some of its modules need, themselves included, by name.

    What is imported inside of functions counts, what is imported for type checkers only doesn't. The
    `__init__` of the whole package is left out: it only names what is public.

    Args:
        modules: names such as `pdrop_eval.engine.context`; the name of a package stands for its `__init__`.
        package: the folder of the package, whose name the modules begin with.

    Returns:
        The files by module name, sorted by name.

    Raises:
        ValueError: one of `modules` has no file.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name == package.name:
            continue
        path = module_file(name, package)
        if path is None:
            raise ValueError(f"there is no module {name} in {package}")
        found[name] = path
        waiting.append(name.rpartition(".")[0])  # importing a module runs the packages that it is in
        waiting += project_imports(path, package)
    return dict(sorted(found.items()))


def module_file(name: str, package: Path) -> Path | None:
    """The file of a module of a package; None if there is none."""
    first, *parts = name.split(".")
    place = package.joinpath(*parts)
    candidates = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((path for path in candidates if first == package.name and path.is_file()), None)


def project_imports(path: Path, package: Path) -> tuple[str, ...]:
    """The modules of the package that a file imports, anywhere but for type checkers."""
    return _imports(*_version(path), package)


def class_attribute(path: Path, class_name: str, name: str) -> str | None:
    """The text that a class of a file gives to one of its attributes; None if it gives none."""
    for node in _parsed(path.read_bytes()).body:
        for line in node.body if isinstance(node, ast.ClassDef) and node.name == class_name else ():
            value = getattr(line, "value", None)
            if name in _assigned(line) and isinstance(value, ast.Constant):
                return str(value.value)
    return None


def hash_modules(modules: dict[str, Path], without: frozenset[str] = frozenset()) -> str:
    """SHA-256 of the code of modules, with their names; `without`: see `code_sha256`."""
    whole = hashlib.sha256()
    for name, path in sorted(modules.items()):
        whole.update(f"{name}\0{code_sha256(path, without)}\n".encode())
    kept().save()
    return whole.hexdigest()


def code_sha256(path: Path, without: frozenset[str] = frozenset()) -> str:
    """SHA-256 of a file's code: its syntax tree without docstrings, the same in every version of Python.

    Args:
        path: the file.
        without: attributes of classes that don't count, such as a name that is only shown.
    """
    return _code_sha256(*_version(path), without)


@lru_cache(maxsize=1024)
def _code_sha256(path: Path, modified: int, without: frozenset[str]) -> str:
    name = ",".join(["sha256", *sorted(without)])
    found: str = kept().value(path, name, lambda: _meaning_sha256(path.read_bytes(), without))
    return found


@lru_cache(maxsize=1024)
def _meaning_sha256(source: bytes, without: frozenset[str]) -> str:
    """The same of a file's content: a copy that lies elsewhere isn't read again."""
    said = repr(_meaning(_parsed(source), without))
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()


@lru_cache(maxsize=1024)
def _imports(path: Path, modified: int, package: Path) -> tuple[str, ...]:
    """The modules of the package that a file imports."""
    found = []
    for level, module, names in kept().value(path, "imports", lambda: _named(path.read_bytes())):
        base = ".".join(filter(None, (_parent(path, package, level), module)))
        parts = [f"{base}.{name}" for name in names]
        found += [part if module_file(part, package) else base for part in parts] if names else [base]
    return tuple(name for name in dict.fromkeys(found) if module_file(name, package))


def _parent(path: Path, package: Path, level: int) -> str:
    """The package that a relative import begins at; nothing for an absolute one."""
    return ".".join([package.name, *path.parts[len(package.parts) : -level]]) if level else ""


@lru_cache(maxsize=1024)
def _named(source: bytes) -> tuple[tuple[int, str | None, tuple[str, ...]], ...]:
    """The imports of a file's content that are executed, in its functions too.

    Returns:
        Of each, how many packages above the file it begins, the module, and what is taken from it.
    """
    found: list[tuple[int, str | None, tuple[str, ...]]] = []
    for node in _executed(_parsed(source)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module, tuple(alias.name for alias in node.names)))
    return tuple(found)


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """A file's statements, also inside of others, without those under `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        typing = isinstance(node, ast.If) and ast.unparse(node.test) in _TYPE_CHECKING
        for name in ("orelse",) if typing else _BLOCKS:
            waiting += getattr(node, name, [])


def _meaning(node: Any, without: frozenset[str]) -> Any:
    """A syntax tree as nested lists, without what is empty: a later Python has more such fields."""
    if isinstance(node, list):
        return [_meaning(part, without) for part in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if name not in _NO_MEANING}
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    if isinstance(node, ast.ClassDef) and without:
        fields["body"] = [line for line in fields["body"] if not without.intersection(_assigned(line))]
    kept = [
        [name, _meaning(part, without)] for name, part in fields.items() if part is not None and part != []
    ]
    return [type(node).__name__, *kept]


def _assigned(line: ast.stmt) -> list[str]:
    """The names that a statement gives a value or a type to."""
    targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _version(path: Path) -> tuple[Path, int]:
    return path, path.stat().st_mtime_ns


@lru_cache(maxsize=1024)
def _parsed(source: bytes) -> ast.Module:
    return ast.parse(source)
