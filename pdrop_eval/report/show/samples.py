"""Which samples a command names: `docvqa:17`, `docvqa_val:17`, `docvqa:0-9`, several with commas."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pdrop_eval.benchmarks.installed.index import is_installed
from pdrop_eval.benchmarks.registry import check_benchmark, registered, registered_by_task
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice

FORMS = (
    "sample=docvqa:17, several as sample=docvqa:17,gqa:3, or a range, both ends in it, as sample=docvqa:0-9"
)
_PART = re.compile(r"(?P<name>[A-Za-z0-9_.]+):(?P<first>\d{1,12})(-(?P<last>\d{1,12}))?")
_NEAR = 3


@dataclass(frozen=True)
class Ids:
    """Samples of a task: those with ids from `first` to `last`."""

    task: str
    first: int
    last: int

    @property
    def text(self) -> str:
        """As it is written on a command line."""
        ends = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        known = registered_by_task().get(self.task)
        return f"{known.key if known else self.task}:{ends}"


def read_samples(text: str, own: str | None = None) -> list[Ids]:
    """What `sample=` names, in its order; `own` is the task of the user's own data, if such are shown.

    Raises:
        UserError: another form, or an unknown benchmark.
    """
    inside = text.strip()
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    parts = [part.strip() for part in inside.split(",") if part.strip()]
    if not parts:
        raise UserError(f"No sample is named. Write {FORMS}.")
    return [_read(part, own) for part in parts]


def check_ids(asked: Ids, count: int) -> range:
    """The ids, if all are among the `count` of the task. Raises UserError with the nearest that there are."""
    if asked.last < count:
        return range(asked.first, asked.last + 1)
    missing = max(asked.first, count)
    near = ", ".join(map(str, range(max(0, count - _NEAR), count)))
    raise UserError(
        f"sample={asked.text}: {asked.task} has no sample {missing}. Its {count} samples are 0 to "
        f"{count - 1}, and the nearest ones {near}."
    )


def by_tasks(asked: Sequence[Ids]) -> dict[str, list[Ids]]:
    """What is asked for of each task."""
    found: dict[str, list[Ids]] = {}
    for ids in asked:
        found.setdefault(ids.task, []).append(ids)
    return found


def _read(part: str, own: str | None) -> Ids:
    match = _PART.fullmatch(part)
    if match is None:
        raise UserError(
            f"Can't read the sample {part!r}: it is a benchmark, a colon and a number. Write {FORMS}."
        )
    name = match["name"]
    task = registered()[name].task if name in registered() else name
    if own is not None:
        check_choice("name of data.folder", name, [own])
    elif task not in registered_by_task() and not is_installed(task):
        fix = "Or its task, as in docvqa_val:17. Of your own questions, give data.folder= and data.metric=, "
        check_benchmark("benchmark", name, registered(), f"{fix}as for the run; of tasks, include_path=.")
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if last < first:
        raise UserError(
            f"The range {part!r} is empty: write the smaller number first, {name}:{last}-{first}."
        )
    return Ids(task, first, last)
