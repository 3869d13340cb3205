r"""The rendered tasks as YAMLs for lmms-eval's own command, which then needs no network and no login.

    python -m pdrop_eval.run.lmms.tasks.offline_tasks FOLDER
    python -m lmms_eval --model pdrop_llava --model_args pretrained=embedded,strategy=pdrop,ratio=0.5 \
        --include_path FOLDER --tasks pope_rendered

The names end in `_rendered`, because lmms-eval prefers its own task of the same name.
"""

import argparse
from pathlib import Path

from pdrop_eval.benchmarks.rendered.suite import ensure_suite
from pdrop_eval.benchmarks.task_files import describe, materialise, task_names


def write_tasks(folder: Path) -> list[str]:
    """Writes `<task>_rendered` for each rendered task into `folder`; returns their names."""
    data = ensure_suite()
    names = []
    for task in task_names("rendered"):
        chain = materialise(describe(task, "rendered"), "rendered", folder / "chain", data, None, False)
        names.append(f"{task}_rendered")
        include = (chain / f"{task}.yaml").resolve()
        (folder / f"{names[-1]}.yaml").write_text(
            f"include: {include}\ntask: {names[-1]}\n", encoding="utf-8"
        )
    return names


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    print("\n".join(write_tasks(parser.parse_args().folder.resolve())))


if __name__ == "__main__":
    main()
