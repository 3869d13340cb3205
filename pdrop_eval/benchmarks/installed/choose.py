"""From the names of a command to tasks of lmms-eval: groups are expanded, other kinds refused by name."""

import difflib
from collections.abc import Collection, Iterator

from pdrop_eval.benchmarks.installed.index import CHANGED, GROUP, TAG, installed_names, is_installed
from pdrop_eval.benchmarks.installed.kinds import why_refused
from pdrop_eval.utils.errors import UserError

_NEAR = 3
_LISTED = 8


def expanded(name: str, own: Collection[str] = ()) -> list[str]:
    """The tasks that a name of lmms-eval's stands for: itself, or those of a group or a tag.

    Args:
        name: of a task, a group or a tag that lmms-eval has.
        own: tasks that have files of their own here, whatever kind lmms-eval's are of.

    Raises:
        UserError: one of them is of another kind than questions about pictures.
    """
    tasks = list(dict.fromkeys(_members(name, own, ())))
    refused = {task: why for task in tasks if task not in own and (why := why_refused(task))}
    if not refused:
        return tasks
    first, why = next(iter(refused.items()))
    if tasks == [name]:
        raise UserError(f"The task {name} can't be run: {why}. {_ALLOWED}")
    able = [task for task in tasks if task not in refused]
    more = f" and {len(refused) - 1} others of it" if len(refused) > 1 else ""
    fix = (
        f" The others: tasks=[{','.join(able[:_LISTED])}{',...' if len(able) > _LISTED else ''}]."
        if able
        else ""
    )
    raise UserError(f"The group {name} can't be run, because of {first}{more}: {why}. {_ALLOWED}{fix}")


_ALLOWED = "Tasks are questions about pictures that are answered in text (generate_until), in one round."


def nearest(name: str) -> str:
    """The names of lmms-eval's that are nearest to one that there isn't, as a sentence; empty for none."""
    near = difflib.get_close_matches(name, installed_names(), n=_NEAR, cutoff=0.7)
    return f"lmms-eval has {', '.join(near)}." if near else ""


def _members(name: str, own: Collection[str], above: tuple[str, ...]) -> Iterator[str]:
    found = installed_names().get(name)
    if name in own or found is None or found.kind not in (GROUP, TAG) or name in above:
        if name == CHANGED or not (name in own or is_installed(name)):
            what = (
                "changes the settings of its tasks" if name == CHANGED else f"names {name}, which there isn't"
            )
            raise UserError(
                f"The group {above[-1] if above else name} can't be run: it {what}. Name single tasks."
            )
        yield name
        return
    for member in found.members:
        yield from _members(member, own, (*above, name))
