"""Hydra composes the same choices of the same files once for all tests; what a command line sets comes after.

Three quarters of a composition go into its defaults and their merging, a thousand times in the fast run.
"""

import copy
import os
import pickle
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import yaml
from hydra._internal import config_loader_impl as loader
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from omegaconf import _utils

Patch = Callable[[Any, str, Any], None]
# What is replaced, as Hydra has it.
HYDRAS = [
    (where, name, getattr(where, name))
    for where, name in (
        (loader, "create_defaults_list"),
        (loader.ConfigLoaderImpl, "_compose_config_from_defaults_list"),
        (ConfigRepository, "load_config"),
        (CachingConfigRepository, "__init__"),
    )
]


def keep(patch: Patch) -> None:
    """Have Hydra keep what follows from files and choices alone.

    Args:
        patch: `setattr`, or one that is undone: pytest's `monkeypatch.setattr`.
    """
    _read_by_libyaml(patch)
    _read_once(patch)
    _compose_once(patch)


def _read_by_libyaml(patch: Patch) -> None:
    """OmegaConf's loader is libyaml's, and is made once."""
    fast = types.ModuleType("yaml")
    vars(fast).update(vars(yaml), SafeLoader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    patch(_utils, "yaml", fast)
    made = _utils.get_yaml_loader()
    patch(_utils, "get_yaml_loader", lambda: made)


def _compose_once(patch: Patch) -> None:
    make_list = loader.create_defaults_list
    make_config = loader.ConfigLoaderImpl._compose_config_from_defaults_list
    lists: dict[Any, Any] = {}
    configs: dict[int, bytes] = {}  # by the list's id: `lists` keeps it alive

    def create_defaults_list(repo: Any, config_name: Any, overrides_list: Any, **options: Any) -> Any:
        if any(one.is_sweep_override() for one in overrides_list):
            return make_list(repo, config_name, overrides_list, **options)
        choices, settings = [], []
        for one in overrides_list:
            chosen = repo.group_exists(one.key_or_group) and not isinstance(one.value(), dict)
            (choices if chosen else settings).append(one)
        lines = tuple(one.input_line for one in choices)
        key = (config_name, lines, *sorted(options.items()), *_state(repo))
        if key not in lists:
            lists[key] = make_list(repo, config_name, choices, **options)
            configs[id(lists[key].defaults)] = b""
        return replace(lists[key], config_overrides=settings)

    def compose(self: Any, defaults: Any, repo: Any) -> Any:
        kept = configs.get(id(defaults))
        if kept:
            return pickle.loads(kept)
        made = make_config(self, defaults, repo)
        if kept is not None:
            configs[id(defaults)] = pickle.dumps(made)
        return made

    patch(loader, "create_defaults_list", create_defaults_list)
    patch(loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", compose)


def _read_once(patch: Patch) -> None:
    """Files are read once, and the store isn't copied: nobody changes it while Hydra composes."""
    read = ConfigRepository.load_config
    files: dict[Any, bytes] = {}

    def load(self: Any, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() == "structured":
            return read(self, config_path)
        key: tuple[Any, ...] = (source.provider, source.path, config_path)
        if source.scheme() == "file":
            path = os.path.join(source.path, source._normalize_file_name(config_path))
            key = (*key, _stamp(os.stat(path)))
        if key not in files:
            files[key] = pickle.dumps(read(self, config_path))
        return pickle.loads(files[key])

    def start(self: Any, delegate: Any) -> None:
        self.delegate, self.cache = copy.copy(delegate), {}

    patch(ConfigRepository, "load_config", load)
    patch(CachingConfigRepository, "__init__", start)


def _state(repo: Any) -> Iterator[Any]:
    """What a repository would read: the files of its folders by size and time, and choices that were made."""
    for source in repo.get_sources():
        yield source.scheme(), source.path
        if source.scheme() == "file":
            yield from _files(source.path)
    yield from _choices("", ConfigStore.instance().repo)


def _files(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir():
            yield from _files(entry.path)
        else:
            yield entry.path, _stamp(entry.stat())


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _choices(path: str, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, node in found.items():
        if isinstance(node, dict):
            yield from _choices(f"{path}/{name}", node)
        else:  # those of Hydra and its plugins don't change
            yield f"{path}/{name}", node.provider or repr(node.node)
