"""The lmms-eval model wrapper asked directly: the model, its requests, the texts of its answers."""

import runner_tiny as tiny

# (context, images): ragged lengths, one without an image, one with two
ASKED = [
    ("What?", [1]),
    ("What is to be seen in this picture?", [2]),
    ("Say something.", []),
    ("Are these two alike?", [3, 4]),
    ("What is written there, if anything?", [5]),
]


def make(folder, **changes):
    from pdrop_eval.run.lmms.model import PdropLlava

    arguments = {"strategy": "pdrop", "device": "cpu", "dtype": "float32", **changes}
    return PdropLlava(str(folder), **arguments)


def requests(model, asked=ASKED, task="quiz", sizes=None, **generation):
    """Instances as lmms-eval builds them, with their documents put where the model looks for them."""
    from lmms_eval.api.instance import Instance

    generation = {"max_new_tokens": 6, "do_sample": False, "until": ["\n\n"], **generation}
    model.task_dict[task] = {"test": [images for _, images in asked]}

    def visual(images):
        return [tiny.picture(seed, (sizes or {}).get(seed, (20, 14))) for seed in images]

    return [
        Instance(
            request_type="generate_until",
            arguments=(context, dict(generation), visual, i, task, "test"),
            idx=0,
            metadata={"task": task, "doc_id": i, "repeats": 1},
        )
        for i, (context, _) in enumerate(asked)
    ]


def texts(results):
    return [result.text for result in results]
