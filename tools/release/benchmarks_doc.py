"""`docs/benchmarks.md`, from the registry: what each benchmark is, and how far its numbers compare."""

import argparse
from pathlib import Path

from pdrop_eval.benchmarks.registry import Benchmark, benchmarks
from pdrop_eval.records.store import write_atomically
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.report.tables.spec import TABLES

_SCALES = {"sum": "a sum", "percent": "0 to 100", "percent_of_one": "0 to 100 (lmms-eval: 0 to 1)"}
_INTRO = """# Benchmarks

`make benchmarks-doc` writes this page from the registry, `pdrop_eval/benchmarks/benchmarks.yaml`.

The paper's sixteen benchmarks, in the order of a suite. Each is an lmms-eval task in two forms, scored by the
same code: on questions that this project renders (`suite=mini`, offline) and on the real data
(`suite=paper`). Scores on rendered questions say nothing about a benchmark: compare them only with each
other."""


_PROCESSING = """The processing of images and prompts matters as much. LLaVA's own evaluation pads an image to
a square (`model.image_processing=pad`), and so does `model=llava_1_5_7b` here; the processor of the
Hub's LLaVA-1.5 checkpoint (`checkpoint`, the default for a checkpoint of your own) crops the centre.
Vicuna's system prompt (`model.chat_template=vicuna`) is the default for the 7B models. Records and
tables name both."""


def catalogue() -> str:
    """The whole document."""
    found = list(benchmarks().values())
    rows = [[escaped(text) for text in _row(benchmark)] for benchmark in found]
    heads = ["Benchmark", "Task", "Split", "Metric", "Score", "Better", "In table"]
    parts = [
        _INTRO,
        pipes(heads, rows),
        "## Comparable with the paper?",
        "Scores on the real data (`suite=paper`):",
    ]
    parts.append("\n".join(f"- **{escaped(b.name)}**: {_comparable(b)}" for b in found))
    parts.append(_PROCESSING)
    parts += ["## Columns and intervals", _columns(found)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Writes the document to the path that is given."""
    parser = argparse.ArgumentParser(description="Writes the catalogue of benchmarks.")
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/benchmarks.md"))
    write_atomically(parser.parse_args().path, catalogue())


def _row(benchmark: Benchmark) -> list[str]:
    tables = [str(number) for number, table in TABLES.items() if benchmark.key in table.benchmarks]
    return [
        benchmark.name,
        benchmark.task,
        benchmark.split,
        benchmark.metric,
        _SCALES[benchmark.scale],
        benchmark.direction,
        ", ".join(tables) or "none",
    ]


def _comparable(benchmark: Benchmark) -> str:
    return benchmark.comparable + (f". {benchmark.why}" if benchmark.why else ".")


def _columns(found: list[Benchmark]) -> str:
    lines = [
        "The columns that the data must have, and what is resampled together for intervals.",
        "",
        *(
            f"- `{benchmark.task}`: {', '.join(f'`{name}`' for name in benchmark.columns)}; resampled: "
            f"the {benchmark.rule.unit}."
            for benchmark in found
        ),
    ]
    judged = [benchmark.name for benchmark in found if benchmark.judge]
    if judged:
        lines += ["", f"A language model scores these, which you have to configure: {', '.join(judged)}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
