"""Whether a device is plainly absent, found out without importing torch, which takes ten seconds."""

import ctypes
import platform
import re
import sys
from importlib.util import find_spec
from pathlib import Path

_BUILT = re.compile(r"^(cuda|hip)\s*(?::[^=]*)?=\s*['\"]", re.MULTILINE)


def why_absent(device: str) -> str | None:
    """Return why a device can't be there, in words; None where only torch can tell, or is imported anyway."""
    kind = device.partition(":")[0]
    if sys.modules.get("torch") is not None or kind not in ("cuda", "mps"):
        return None
    if kind == "mps":
        return None if platform.system() == "Darwin" else "this is no Mac"
    built = _built_for()
    if built is None or "hip" in built:
        return None
    if "cuda" not in built:
        return "the installed torch is built without CUDA"
    if platform.system() != "Linux" or _loads("libcuda.so.1"):
        return None
    return "no NVIDIA driver is installed (there is no libcuda.so.1)"


def _built_for() -> set[str] | None:
    """The kinds of GPU that the installed torch is built for, by its version.py; None: it doesn't say."""
    try:
        found = find_spec("torch")
        path = Path(found.origin).with_name("version.py") if found and found.origin else None
        return None if path is None else set(_BUILT.findall(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
