"""What kind of task one of lmms-eval's is, and what it needs: from its files and its functions' source.

Nothing is imported, so that a task of another kind is refused at once.
"""

import ast
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.installed.chain import Function, task_chain
from pdrop_eval.benchmarks.installed.folder import installed_tasks
from pdrop_eval.benchmarks.installed.index import CLASS, installed_names
from pdrop_eval.benchmarks.installed.source import module_files, module_imports, reach

GENERATES = "generate_until"
# What a task may ask of the generation, and what changes no answer: it is of the original LLaVA's code.
GENERATION = ("max_new_tokens", "temperature", "top_p", "num_beams", "do_sample", "until")
IGNORED = ("image_aspect_ratio", "seed")
_NEUTRAL = {"repetition_penalty": 1, "length_penalty": 1, "num_return_sequences": 1, "top_k": 0}
SUBMISSION = "submission"  # what lmms-eval's tasks call a file for somebody else's server
_OUTPUTS = {
    "multiple_choice": "it compares the log-likelihoods of choices, and the model writes none",
    "loglikelihood": "it scores the log-likelihood of a given answer, and the model writes none",
    "generate_until_multi_round": "it is a conversation of several rounds",
    "generate_until_agentic": "it lets the model act with tools, in several rounds",
    "generate_visual_cot": "it asks the model to draw pictures",
}
_ASK = frozenset({"openai", "anthropic", "requests", "httpx", "aiohttp", "dashscope", "boto3", "google"})
_JUDGES = ("lmms_eval.llm_judge", "lmms_eval.verifiers.openai")
_HERE = ("lmms_eval", "Levenshtein")  # of the second, `stand_ins` has what is taken of it
# Packages whose name to install is another one.
_PACKAGES = {
    "cv2": "opencv-python", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml",
    "dotenv": "python-dotenv", "bs4": "beautifulsoup4", "skimage": "scikit-image", "fitz": "pymupdf",
    "latex2sympy2": "latex2sympy2", "google": "google-genai", "rouge_score": "rouge-score",
    "math_verify": "math-verify", "mmengine": "mmengine", "docx": "python-docx",
}  # fmt: skip


def task_file(name: str) -> Path:
    """The file of a task that lmms-eval has."""
    folder = installed_tasks()
    assert folder is not None
    return folder / installed_names()[name].file


@cache
def why_refused(name: str) -> str | None:
    """Why one of lmms-eval's tasks can't be run here, in words; None if it can.

    Raises:
        UserError: Its files can't be read.
    """
    if installed_names()[name].kind == CLASS:
        return "it is a Python class of its own, and not described by settings"
    config = task_chain(task_file(name))
    output = str(config.get("output_type", GENERATES))
    if output != GENERATES:
        return _OUTPUTS.get(output, f"its answers are of the kind {output!r}")
    repeats = config.get("repeats") or 1
    if repeats != 1:
        return f"it asks each question {repeats} times"
    return _medium(config) or _answer(config) or _number(config) or _generation(config) or _machine(config)


@cache
def missing_packages(name: str) -> tuple[str, ...]:
    """The packages that a task imports and that aren't installed, as they are installed."""
    config = task_chain(task_file(name))
    found = reach(*_functions(config))
    names = set(found.late)
    todo, seen = list(found.files), set[Path]()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            names |= {package for package, _ in module_imports(path) if not _is_beside(path, package)}
            todo += module_files(path)
    return tuple(sorted({_PACKAGES.get(one, one) for one in names if _is_missing(one)}))


def may_ask(name: str) -> bool:
    """Whether a task's scoring can reach a language model, by its source."""
    config = task_chain(task_file(name))
    found = reach(*_scoring(config))
    return bool(found.imports & _ASK) or any(one.startswith(_JUDGES) for one in found.modules)


def source_files(name: str) -> list[Path]:
    """The files in which a task's functions are written."""
    return sorted(reach(*_functions(task_chain(task_file(name)))).files)


def _medium(config: dict[str, Any]) -> str | None:
    """Why what a task shows is no picture."""
    shows = config.get("doc_to_visual")
    if isinstance(shows, str):
        return None  # a column of pictures
    if not isinstance(shows, Function):
        return "it has no pictures: it is text alone"
    found = reach(shows)
    words = {word.lower() for word in (*found.names, *found.words, shows.name)}
    for medium, endings in (("video", (".mp4", ".avi")), ("audio", (".wav", ".mp3"))):
        if any(medium in word or any(end in word for end in endings) for word in words):
            return f"it shows {medium} (by {shows.text})"
    if not any("image" in word or "img" in word or word == "rgb" for word in words):
        return "it has no pictures: it is text alone"
    return None


def _answer(config: dict[str, Any]) -> str | None:
    """Why a task's answers are no text."""
    reads = config.get("process_results")
    if not isinstance(reads, Function):
        return None
    found = reach(reads)
    if any("video_from" in name or name == "video_path" for name in found.names):
        return "its answers are videos"
    if "loads" in found.names and any(map(_reads_pictures, found.nodes)):
        return "its answers are pictures that the model draws"
    return None


def _reads_pictures(node: ast.AST) -> bool:
    """Whether a function takes `images` from something else than the question's row."""
    for part in ast.walk(node):
        key: ast.expr | None
        if isinstance(part, ast.Subscript):
            base, key = part.value, part.slice
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "get":
            base, key = part.func.value, part.args[0] if part.args else None
        else:
            continue
        is_row = isinstance(base, ast.Name) and base.id in ("doc", "sample")
        if isinstance(key, ast.Constant) and key.value == "images" and not is_row:
            return True
    return False


def _number(config: dict[str, Any]) -> str | None:
    """Why a task gives no score."""
    metrics = [str(entry.get("metric")) for entry in config.get("metric_list") or ()]
    if metrics and all(SUBMISSION in metric for metric in metrics):
        return "it has no score: it writes a file of answers for its authors' server"
    return None


def asked_of_generation(given: dict[str, Any]) -> dict[str, Any]:
    """What a task asks of the generation, without what changes no answer."""
    return {
        name: value
        for name, value in given.items()
        if name not in IGNORED and not (name in _NEUTRAL and value in (None, _NEUTRAL[name]))
    }


def _generation(config: dict[str, Any]) -> str | None:
    """Why a task's answers can't be generated as it asks."""
    given = config.get("generation_kwargs")
    given = given if isinstance(given, dict) else {}
    others = set(asked_of_generation(given)) - set(GENERATION)
    if not others:
        return None
    name = min(others)
    return f"it asks the generation for {name}={given[name]}, and only {', '.join(GENERATION)} are known here"


def _machine(config: dict[str, Any]) -> str | None:
    """Why this machine can't score a task's answers; its functions would count them as wrong."""
    names = reach(*_functions(config)).names
    if "parse_latex" in names and not _version("antlr4-python3-runtime").startswith("4.11"):
        return (
            "its scoring reads LaTeX with sympy, which needs antlr4-python3-runtime 4.11, and Hydra, which "
            "reads the commands here, needs 4.9"
        )
    for path in sorted(reach(*_functions(config)).files):
        lost = [name for name, _ in module_imports(path) if _is_beside(path, name) and _is_missing(name)]
        if lost:
            return (
                f"its {path.name} imports {lost[0]}, a file beside it, which Python doesn't find: begin the "
                f"command with PYTHONPATH={path.parent}"
            )
    if "PTBTokenizer" in names and shutil.which("java") is None:
        return "its scoring runs Java, and there is no java on the PATH: install it (default-jre-headless)"
    return None


def _is_beside(path: Path, module: str) -> bool:
    """Whether a module is a file beside another: no package to install, whatever there is of its name."""
    return (path.parent / f"{module}.py").is_file()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _functions(config: dict[str, Any]) -> Iterator[Function]:
    """All functions that a task's settings name."""
    todo: list[Any] = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, Function):
            yield value
        elif isinstance(value, (dict, list)):
            todo += value.values() if isinstance(value, dict) else value


def _scoring(config: dict[str, Any]) -> Iterator[Function]:
    return _functions({name: config.get(name) for name in ("process_results", "metric_list", "filter_list")})


def _is_missing(package: str) -> bool:
    if package in sys.stdlib_module_names or package in _HERE:
        return False
    try:
        return find_spec(package) is None
    except (ImportError, ValueError):
        return True
