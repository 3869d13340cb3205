"""The entry point through which lmms-eval finds our model; every lmms-eval process imports it."""

from typing import Any


def manifests() -> list[Any]:
    """The models that lmms-eval can load by name: `--model pdrop_llava`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [ModelManifest(model_id="pdrop_llava", simple_class_path="pdrop_eval.run.lmms.model.PdropLlava")]
