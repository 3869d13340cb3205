"""The context manager that installs the staged forward on a model and always removes it."""

import inspect
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from pdrop_eval.engine import checks
from pdrop_eval.engine.decode import Continuation
from pdrop_eval.engine.families import PROJECTIONS, family_of
from pdrop_eval.engine.interface import Chooser
from pdrop_eval.engine.prefill import Prefill, Setup
from pdrop_eval.engine.report import Report
from pdrop_eval.errors import UserError

STATE = "pdrop_state"
_active: WeakSet[nn.Module] = WeakSet()


class StagedForward:
    """Removes image tokens between the layers of `model` while the context is open.

    Entering yields a `Report`, which each prefill fills anew. Call the model as usual: `forward`, `generate`.

    image_mask: [b, n] bool, true on image tokens. Needed by bare decoders, which can't tell; a multimodal model finds
    its own and needs it only when it is given `inputs_embeds`.

    Raises:
        UserError: an unknown family, sliding-window layers, drop layers outside the model, a missing mask.
    """

    def __init__(self, model: nn.Module, chooser: Chooser, image_mask: Tensor | None = None):
        self.model = model
        self.family = family_of(model)
        self.image_mask = image_mask
        config = self.family.config
        drops = chooser.drops(config.num_hidden_layers)
        checks.check_drops(drops, config.num_hidden_layers)
        if drops:
            checks.check_text_model(config)
            checks.mask_kind(config._attn_implementation)
        if image_mask is None and drops and not self.family.finds_images:
            raise UserError(
                f"{type(model).__name__} can't tell image tokens from text: pass image_mask, a boolean tensor "
                "[batch, sequence] that is true on image tokens."
            )
        if image_mask is not None and (image_mask.dtype != torch.bool or image_mask.dim() != 2):
            raise UserError(
                f"image_mask must be a boolean tensor [batch, sequence], not {image_mask.dtype} of shape "
                f"{tuple(image_mask.shape)}."
            )
        self.chooser = chooser
        self.drops = drops
        self._stack: ExitStack | None = None

    def __enter__(self) -> Report:
        decoder = self.family.decoder
        if decoder in _active:
            raise UserError(
                "A strategy is already active on this model: leave its `with` block before opening another."
            )
        self.report = Report()
        with ExitStack() as stack:
            _active.add(decoder)
            stack.callback(_active.discard, decoder)
            self._install(stack)
            self._stack = stack.pop_all()
        return self.report

    def __exit__(self, *exc: object) -> None:
        if self._stack is not None:
            self._stack.close()
            self._stack = None

    def _install(self, stack: ExitStack) -> None:
        """Put the hooks on, each with its removal on `stack`."""
        model, decoder = self.model, self.family.decoder
        handles = [
            model.register_forward_pre_hook(self._before_model, with_kwargs=True),
            model.register_forward_hook(self._after_model, with_kwargs=True),
            decoder.register_forward_pre_hook(self._before_decoder, with_kwargs=True),
            decoder.register_forward_hook(self._after_decoder, with_kwargs=True),
        ]
        for number, layer in enumerate(decoder.layers):
            handles.append(layer.register_forward_pre_hook(partial(_before_layer, number), with_kwargs=True))
        for handle in handles:
            stack.callback(handle.remove)
        if self.drops and hasattr(model, "generate"):
            # A hook on forward comes too late to refuse: generate has then encoded the images.
            before = vars(model).get("generate")
            model.__dict__["generate"] = self._checked_generate(model.generate)
            stack.callback(_restore, model, "generate", before)

    def _checked_generate(self, generate: Any) -> Any:
        @wraps(generate)
        def checked(*args: Any, **kwargs: Any) -> Any:
            arguments = _named(generate, args, kwargs)
            checks.check_generate(self.model, arguments)
            past = checks.check_cache(arguments.get("past_key_values"))
            checks.check_filled(self.family.has_images(arguments), past)
            return generate(*args, **kwargs)

        return checked

    def _setup(self) -> Setup:
        config, decoder = self.family.config, self.family.decoder
        return Setup(
            chooser=self.chooser,
            drops=self.drops,
            num_layers=config.num_hidden_layers,
            rotary=decoder.rotary_emb,
            project=PROJECTIONS[config.model_type],
            mask_kind=checks.mask_kind(config._attn_implementation) if self.drops else "sdpa",
        )

    def _before_model(
        self, model: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Check the inputs and put the state of this forward among them."""
        inputs = _named(model.forward, args, kwargs)
        cache = inputs.get("past_key_values")
        past = (
            checks.check_cache(cache) if self.drops else (cache.get_seq_length() if cache is not None else 0)
        )
        if self.drops:
            checks.check_filled(self.family.has_images(inputs), past)
            checks.check_forward(inputs, past)
        setup = self._setup()
        if past:
            record = getattr(cache, "pdrop_record", None)
            inputs[STATE] = Continuation(record, past, setup.rotary, setup.mask_kind)
            return (), inputs
        labels = inputs.pop("labels", None) if self.drops else None
        _clear(self.report)
        inputs[STATE] = Prefill(setup, self.report, self._image_mask(inputs), labels)
        return (), inputs

    def _image_mask(self, inputs: dict[str, Any]) -> Tensor:
        """Return [b, n] bool for this forward's rows, true on image tokens."""
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        shape = tuple((ids if ids is not None else embeds).shape[:2])  # type: ignore[union-attr]
        device = (ids if ids is not None else embeds).device  # type: ignore[union-attr]
        mask = self.image_mask
        if mask is None:
            mask = self.family.image_mask(inputs)
        if mask is None:
            if self.drops:
                raise UserError(
                    "Image tokens can't be found in inputs_embeds: pass input_ids, or give image_mask."
                )
            mask = torch.zeros(shape, dtype=torch.bool, device=device)
        if mask.shape[1] != shape[1] or shape[0] % mask.shape[0]:
            raise UserError(
                f"image_mask has shape {tuple(mask.shape)}, but this forward has {shape[0]} rows of {shape[1]} "
                "tokens: open a context with the mask of this batch."
            )
        # Beam search and num_return_sequences repeat every row.
        return mask.to(device).repeat_interleave(shape[0] // mask.shape[0], dim=0)

    def _before_decoder(
        self, decoder: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        inputs = _named(decoder.forward, args, kwargs)
        state = inputs.get(STATE)
        if state is None:
            raise UserError(
                f"Call the {type(self.model).__name__} that the strategy was opened on, not a module inside it."
            )
        mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
        if isinstance(state, Prefill):
            state.begin(mask, positions)
        else:
            embeds = inputs.get("inputs_embeds")
            state.begin(mask, positions, inputs["input_ids"] if embeds is None else embeds)
        return (), inputs

    def _after_decoder(self, decoder: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        state = kwargs[STATE]
        if isinstance(output, tuple):
            return (state.finish(output[0]), *output[1:])
        output.last_hidden_state = state.finish(output.last_hidden_state)
        return output

    def _after_model(self, model: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        """Compute the loss on the shortened sequence, where labels were given."""
        state = kwargs[STATE]
        if not isinstance(state, Prefill) or state.labels is None:
            return output
        labels = state.output_labels()
        self.report.labels = labels
        logits = output[0] if isinstance(output, tuple) else output.logits
        extra = {k: kwargs[k] for k in ("num_items_in_batch",) if k in kwargs}
        vocab = self.family.config.vocab_size
        loss = model.loss_function(logits=logits, labels=labels, vocab_size=vocab, **extra)  # type: ignore[operator]
        if isinstance(output, tuple):
            return (loss, *output)
        return type(output)(**{"loss": loss, **output})


def _before_layer(
    number: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    kwargs = dict(kwargs)
    state = kwargs.pop(STATE)
    hidden, rest = (args[0], args[1:]) if args else (kwargs.pop("hidden_states"), ())
    return (state.enter_layer(number, layer, hidden, kwargs), *rest), kwargs


def _named(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments by name."""
    if not args:
        return dict(kwargs)
    return {**dict(zip(inspect.signature(function).parameters, args, strict=False)), **kwargs}


def _restore(target: nn.Module, name: str, before: Any) -> None:
    """Put an instance attribute back as it was."""
    if before is None:
        del target.__dict__[name]
    else:
        target.__dict__[name] = before


def _clear(report: Report) -> None:
    """Empty a report in place: the caller holds on to it."""
    report.__init__()  # type: ignore[misc]
