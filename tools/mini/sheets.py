"""A contact sheet for each task of the rendered suite, for a person to look at: `make contact-sheets`."""

import argparse
import base64
from pathlib import Path

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.benchmarks.rendered.suite import QUESTIONS, TASKS, png, render
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.text.escape import fill

TEMPLATE = Path(__file__).with_name("sheet.html.jinja")


def sheet(task: str, number: int) -> str:
    """The page of a task: its first questions, evenly spread, with picture, prompt and answer."""
    rows = render(task)
    figures = []
    for picture, question, row in rows[:: max(1, len(rows) // number)][:number]:
        answers = row.get("answers", question.answer)
        figures.append(
            {
                "data": base64.b64encode(png(picture)).decode(),
                "alt": f"rendered {picture.kind}",
                "prompt": question.prompt,
                "answers": _answers(answers),
            }
        )
    text = f"{len(figures)} of the {QUESTIONS} rendered questions, as a model is asked them."
    return fill(TEMPLATE, title=f"{by_task()[task].name} ({task})", text=text, figures=figures, links=())


def _answers(answers) -> str:
    """One answer, or the annotators' answers with how many gave each."""
    if isinstance(answers, str):
        return answers
    given = [answer["answer"] if isinstance(answer, dict) else answer for answer in answers]
    counted = {answer: given.count(answer) for answer in given}
    return ", ".join(answer if n == len(given) else f"{answer} ({n})" for answer, n in counted.items())


def write_sheets(out: Path, number: int = 24) -> list[Path]:
    """Writes `<task>.html` for every task and an index; returns the paths."""
    paths = []
    for task in TASKS:
        paths.append(out / f"{task}.html")
        write_atomically(paths[-1], sheet(task, number))
    links = [(task, by_task()[task].name) for task in TASKS]
    text = "A page for each benchmark."
    page = fill(TEMPLATE, title="The rendered suite", text=text, figures=(), links=links)
    write_atomically(out / "index.html", page)
    return [out / "index.html", *paths]


def main() -> None:
    """Parse the command line and write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/contact-sheets"))
    parser.add_argument("--number", type=int, default=24, help="questions of each task")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"Open {write_sheets(options.out, options.number)[0]} in a browser.")


if __name__ == "__main__":
    main()
