"""Packages that others import and no evaluation uses: they are there, and read when one asks them for a name.

torchvision brings its models and operators, which bring torch's compiler; lmms-eval brings scipy through
`evaluate`, and clients of servers. Together they take as long as all that a short evaluation needs. Each is
the package itself, not a stand-in: only the moment is another one at which its code runs.
"""

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

# Each is only named where it is imported (`import evaluate`, `from torchvision import ops`), and used within
# functions.
NAMES = frozenset(
    {"torchvision.models", "torchvision.ops", "torchvision.datasets", "evaluate", "sacrebleu", "aiohttp"}
)
# Parts of these are imported by themselves (`torchvision.ops.boxes`) and need nothing of the whole.
_IN_PARTS = frozenset({"torchvision.ops"})
_ASKED = frozenset(
    {"__all__", "__path__", "__version__"}
)  # of all names with __, what a package itself defines


def defer() -> None:
    """From now on, the packages are read when something is asked of them. Harmless when called twice."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the packages as Python does, with a loader that waits."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.rpartition(".")[0] in NAMES and name in sys.modules:
            return importlib.machinery.ModuleSpec(name, _Made(sys.modules[name]))
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in NAMES else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Waiting(spec.loader)
        return spec


class _Made(importlib.abc.Loader):
    """Gives a part that its package has imported, when it ran because somebody asked for this part."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Waiting(importlib.abc.Loader):
    """Makes a module whose code runs later."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader
        spec.loader_state = _State()
        if module.__name__ not in _IN_PARTS:
            del module.__path__
        module.__class__ = _Deferred


@dataclass
class _State:
    """Who may run a module's code, and whether it runs."""

    lock: Any = field(default_factory=threading.RLock)
    runs: bool = False


class _Deferred(ModuleType):
    """A module whose code runs when a name is asked for that it doesn't have yet."""

    def __getattr__(self, name: str) -> Any:
        spec: Any = self.__spec__
        state: _State = spec.loader_state
        with state.lock:  # another thread may run the code: it is waited for
            if type(self) is _Deferred:
                unasked = name.startswith("__") and name not in _ASKED  # by what looks at every module
                if state.runs or unasked:
                    raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
                self.__path__ = spec.submodule_search_locations
                state.runs = True
                try:
                    spec.loader.exec_module(self)
                    self.__class__ = ModuleType  # type: ignore[assignment]
                except BaseException:
                    if self.__name__ not in _IN_PARTS:
                        del self.__path__
                    raise
                finally:
                    state.runs = False
        return getattr(self, name)
