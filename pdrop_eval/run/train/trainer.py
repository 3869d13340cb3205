"""The Trainer of transformers with LLaVA's parts and learning rates, and an order of samples of our own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from pdrop_eval.models import families
from pdrop_eval.run.train.data.loader import GroupedSampler


def choose_parts(model: nn.Module, parts: Sequence[str]) -> None:
    """Let these parts learn, and freeze the others."""
    family = families.multimodal_of(model.config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(family.part_of(name) in parts)


class StrategyTrainer(Trainer):
    """Trains with a learning rate for each part of the model, on length-grouped global batches.

    Attributes:
        rates: Learning rate by part.
        global_batch: Samples of a step over all processes.
    """

    def __init__(self, *args: Any, rates: dict[str, float], global_batch: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.rates, self.global_batch = rates, global_batch

    def is_last(self, checkpoint: Path) -> bool:
        """Whether a checkpoint is of the last step: the Trainer would go on from it to one step more."""
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        return state.global_step >= state.max_steps

    def take_up(self, checkpoint: Path) -> None:
        """Take the weights and the state of the last checkpoint, without training."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Write the weights under the names that they have in the model.

        By default transformers writes LLaVA under its older names, which the Trainer's own reading on resume
        does not know and leaves out without a word. No pickled arguments either.
        """
        if self.args.should_save:
            folder = output_dir or self.args.output_dir
            model = self.accelerator.unwrap_model(self.model)
            model.save_pretrained(folder, state_dict=state_dict, save_original_format=False)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """A checkpoint that doesn't fit the model ends the training: a warning would be lost."""
        if load_result.missing_keys or load_result.unexpected_keys:
            raise RuntimeError(
                "The checkpoint does not fit the model. Missing weights: "
                f"{load_result.missing_keys[:3]} ({len(load_result.missing_keys)}); unknown ones: "
                f"{load_result.unexpected_keys[:3]} ({len(load_result.unexpected_keys)})."
            )

    def _get_train_sampler(self, train_dataset: Any = None) -> GroupedSampler:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return GroupedSampler(dataset.samples, self.global_batch, self.args.seed)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """One group for each part and for what decays in it and what doesn't (norms and biases)."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            decaying = set(self.get_decay_parameter_names(trained))
            family = families.multimodal_of(getattr(trained, "module", trained).config)
            groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
            for name, parameter in trained.named_parameters():
                if parameter.requires_grad:
                    part = family.part_of(name.removeprefix("module."))
                    groups.setdefault((part, name in decaying), []).append(parameter)
            cls, settings = self.get_optimizer_cls_and_kwargs(self.args, trained)
            rate = self.args.learning_rate
            self.optimizer = cls(
                [
                    {
                        "params": parameters,
                        "lr": self.rates.get(part, rate),
                        "weight_decay": self.args.weight_decay if decays else 0.0,
                    }
                    for (part, decays), parameters in groups.items()
                ],
                **settings,
            )
        return self.optimizer
