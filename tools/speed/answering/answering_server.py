"""Answers tasks as `pdrop-eval` does, each time that it is told to: one version of the code, by its defaults.

Started by `tools.speed.answering.earlier_code` with a folder of code on PYTHONPATH, so it uses only what all
versions have. A line of input, `{"strategy": "pdrop"}`, is a round; the reply is a line of JSON behind
`MARK`.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MARK = "answered: "


def main() -> None:
    """Open the model once, then answer rounds until standard input ends."""
    from pdrop_eval.run.config.spec import compose_spec
    from pdrop_eval.run.evaluate.plan import make_plan
    from pdrop_eval.run.lmms.open import open_model
    from pdrop_eval.strategies.make import make_strategy

    plan = make_plan(compose_spec(sys.argv[1:]))
    model = open_model(plan, make_strategy("vanilla"))
    print(MARK + "{}", flush=True)
    for line in sys.stdin:
        model.use(make_strategy(json.loads(line)["strategy"]))
        model.features.clear()
        found = [_round(model, plan, task) for task in plan.tasks]
        print(MARK + json.dumps(found), flush=True)


def _round(model: Any, plan: Any, task: str) -> dict[str, Any]:
    from pdrop_eval.run.lmms.answer_log import AnswerLog
    from pdrop_eval.run.lmms.open import open_task
    from pdrop_eval.run.lmms.tasks.task_runner import run_task

    config, seconds, spent = plan.config, [], []
    answer = model.generate_until

    def generate_until(requests: Any) -> Any:
        start, used = time.perf_counter(), time.process_time()
        found = answer(requests)
        seconds.append(time.perf_counter() - start)
        spent.append(time.process_time() - used)
        return found

    model.generate_until = generate_until
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        info, tasks = open_task(plan, task, Path(folder))
        entry, samples = run_task(
            model, info, tasks, AnswerLog(), limit=config.limit, seed=config.seed, resamples=config.bootstrap,
            tflops=lambda _: 0.0, truncated_images=config.suite.source == "hub",
        )  # fmt: skip
    del model.generate_until
    return {
        "answers": [sample["answer"] for sample in samples], "seconds": time.perf_counter() - start,
        "answering": sum(seconds), "processor": sum(spent), "usage": entry["usage"],
        "batch_size": entry["batch_size"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
