"""An evaluation in this process, settings as on the command line."""

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli


def run(llava, data, results, *overrides, strategy="pdrop"):
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={results}", f"strategy={strategy}"]
    return cli.evaluate(compose_spec([*given, *overrides]))
