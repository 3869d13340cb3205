"""A training of a few steps of the miniature."""

from pdrop_eval.run.train.config.spec import compose_training
from pdrop_eval.utils.paths import MINI_CHECKPOINT

START = MINI_CHECKPOINT


def training_config(data, out, *overrides: str):
    """The settings of a short training on this data into a folder."""
    return compose_training(
        [
            f"model.pretrained={START}",
            f"recipe.pretrain.files=[{data}/captions.json]",
            f"recipe.pretrain.images={data}/images",
            f"recipe.instruct.files=[{data}/instruct.json]",
            f"recipe.instruct.images={data}/images",
            *(f"recipe.{phase}.{key}" for phase in ("pretrain", "instruct")
              for key in ("batch_size=4", "per_device_batch=4", "steps=4")),
            f"output={out}",
            "phases=[instruct]",
            "dtype=float32",
            "log_every=1",
            "device=cpu",
            "threads=1",
            *overrides,
        ]
    )  # fmt: skip
