"""A contact sheet for each task of the rendered suite, for a person to look at: `make contact-sheets`."""

import argparse
import base64
import html
from pathlib import Path

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.benchmarks.rendered.suite import QUESTIONS, TASKS, png, render
from pdrop_eval.utils.files import write_atomically

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #1a1a1a; background: #fff; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(288px, 1fr)); gap: 1.5rem; }}
figure {{ margin: 0; }} figcaption {{ white-space: pre-line; overflow-wrap: anywhere; }}
img {{ border: 1px solid #bbb; max-width: 100%; }} b {{ color: #0a4f8f; }}
</style>
<h1>{title}</h1>
<p>{text}</p>
<main>
{figures}
</main>
</html>
"""
_FIGURE = (
    '<figure><img src="data:image/png;base64,{data}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
)


def sheet(task: str, number: int) -> str:
    """The page of a task: its first questions, evenly spread, with picture, prompt and answer."""
    rows = render(task)
    figures = []
    for picture, question, row in rows[:: max(1, len(rows) // number)][:number]:
        answers = row.get("answers", question.answer)
        caption = f"{html.escape(question.prompt)}\n<b>{html.escape(_answers(answers))}</b>"
        data = base64.b64encode(png(picture)).decode()
        figures.append(_FIGURE.format(data=data, alt=f"rendered {picture.kind}", caption=caption))
    text = f"{len(figures)} of the {QUESTIONS} rendered questions, as a model is asked them."
    return _PAGE.format(title=f"{by_task()[task].name} ({task})", text=text, figures="\n".join(figures))


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
    links = [f'<p><a href="{task}.html">{by_task()[task].name}</a> ({task})</p>' for task in TASKS]
    page = _PAGE.format(
        title="The rendered suite", text="A page for each benchmark.", figures="\n".join(links)
    )
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
