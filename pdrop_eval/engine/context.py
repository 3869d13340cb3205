"""The context manager that installs the staged forward on a model and always removes it."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from pdrop_eval.engine import checks
from pdrop_eval.engine.before_decoder.added import AddedFeatures
from pdrop_eval.engine.before_decoder.reduce import BeforeStage, Shortened
from pdrop_eval.engine.interface import TokenSelector
from pdrop_eval.engine.per_image import lengths_of_inputs, lengths_of_prompt
from pdrop_eval.engine.phases.decode import CacheRecord, Continuation
from pdrop_eval.engine.phases.prefill import Prefill, Setup
from pdrop_eval.engine.prefix.cache import PrefixCache
from pdrop_eval.engine.prefix.computing import STATE
from pdrop_eval.engine.prefix.sharing import check_sharing, sharing_of
from pdrop_eval.engine.report import Report
from pdrop_eval.engine.stages.positions import settled_positions
from pdrop_eval.models import families
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.kv_cache import cache_in
from pdrop_eval.models.text_model import check_text_model
from pdrop_eval.models.towers.encoded import Places
from pdrop_eval.utils.errors import UserError

_active: WeakSet[nn.Module] = WeakSet()

Inputs = dict[str, Any]


class StagedForward:
    """Removes image tokens between the layers of `model` while the context is open.

    Entering yields a `Report`, which each prefill fills anew. Call the model as usual: `forward`, `generate`,
    and `backward` while the context is still open. A cache that was filled here is to be continued here or in
    another context: outside of one, the model knows nothing of the layers' different lengths.

    Args:
        model: a model of a registered family, unwrapped.
        selector: a strategy.
        image_mask: [b, n] bool, true on image tokens. Needed by bare decoders, which can't tell; a multimodal
            model finds its own and needs it only when it is given `inputs_embeds`.
        prompt: prompts whose images are reduced already, by `before.shorten`; the next calls are for these.
        questions: the text of each row's question, for strategies before the decoder that choose by it.
        seeds: of each row, for strategies that choose by chance; None: equal images give equal choices.
        places: gives where the tokens of the images come from, in the order of the rows, for models that are
            given features in place of pixels; strategies that need a grid ask for it.
        prefixes: what was computed of the prefixes of earlier prompts, and what will be of these. Prefills
            without gradients use it: in the layers before the first drop, they compute what follows the last
            image token alone. Where nothing is dropped, the output then has these columns only.
        prefix_keys: one a row: prompts with the same key, and prefixes of the same length at the same
            positions, have the same prefix. None: it is known by its embeddings, at the cost of looking at
            them.

    Raises:
        UserError: an unknown family, sliding-window layers, drop layers outside the model, a missing mask,
            what a strategy before the decoder can't do with this model, and prefixes that can't be shared.
    """

    def __init__(
        self, model: nn.Module, selector: TokenSelector, image_mask: Tensor | None = None, *,
        prompt: Shortened | None = None, questions: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None, places: Callable[[], Sequence[Places]] | None = None,
        prefixes: PrefixCache | None = None, prefix_keys: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self.selector = selector
        self.image_mask = image_mask
        self.family = families.of_model(model)
        self.family.check_version()
        self.decoder = self.family.decoder(model)
        self.config = config = model.config.get_text_config()  # type: ignore[union-attr, operator]
        self.drops = selector.drops(config.num_hidden_layers)
        checks.check_drops(self.drops, config.num_hidden_layers)
        if self.drops:
            check_text_model(config)
            checks.mask_kind(config._attn_implementation)
            checks.check_image_mask(image_mask, type(model).__name__, self.family.multimodal)
        checks.check_images(selector, self.family, model.config, image_mask)
        can_renumber = self.family.can_renumber or not self.drops
        self.positions = settled_positions(selector.positions, type(model).__name__, can_renumber)
        reducer = getattr(selector, "reducer", None)
        if self.drops or reducer is not None:
            checks.check_one_place(model)
        self.before = None if reducer is None else BeforeStage(self.family, model, reducer)
        self.prompt, self.questions, self.seeds, self.places = prompt, questions, seeds, places
        self.prefixes, self.prefix_keys = prefixes, prefix_keys
        check_sharing(self.family, self.config, selector, prefixes, prefix_keys)
        self._stack: ExitStack | None = None
        self._generating = False
        self._cache: Any = None  # of the last forward of the `generate` that runs

    def __enter__(self) -> Report:
        decoder = self.decoder
        if decoder in _active:
            raise UserError(
                "A strategy is already active on this model: leave its `with` block before opening another."
            )
        self.report = Report()
        cut = getattr(self.selector, "cache_cut", None)
        self.setup = Setup(
            selector=self.selector,
            drops=self.drops,
            num_layers=self.config.num_hidden_layers,
            rotary=decoder.rotary_emb,
            family=self.family,
            attention=self.config._attn_implementation,
            final_norm=decoder.norm,
            positions=self.positions,
            seeds=self.seeds,
            cache_cut=cut(self.config.num_hidden_layers) if cut is not None and self.drops else None,
        )
        self.sharing = None
        if self.prefixes is not None:
            self.sharing = sharing_of(decoder, self.config, self.selector, self.prefixes, self.prefix_keys)
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
        model: Any = self.model
        decoder = self.decoder
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
        if self.drops or self.before is not None:
            # A hook on forward would refuse too late: by then generate has encoded the images.
            before = vars(model).get("generate")
            vars(model)["generate"] = self._checked(model.generate)
            stack.callback(_restore, model, "generate", before)
            # Continuous batching would swallow the refusal and hand out empty answers.
            before = vars(model).get("generate_batch")
            vars(model)["generate_batch"] = _refuse_batch
            stack.callback(_restore, model, "generate_batch", before)

    def _checked(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `generate` so that it refuses what can't be right before it computes anything."""

        @wraps(generate)
        def checked(*args: Any, **kwargs: Any) -> Any:
            inputs = _named(generate, args, kwargs)
            checks.check_generate(self.model, inputs, any_cache=not self.drops)
            if self.drops and self.before is None:
                image = self.family.image_mask(self.model.config, inputs)
                checks.check_expansion(self.model, inputs, image)
            past = self._past(inputs)
            checks.check_filled(self.family.has_images(inputs), past)
            self._generating, self._cache = True, None
            try:
                if self.before is None or self.prompt is not None or not self.family.has_images(inputs):
                    return generate(*args, **kwargs)
                return self._generate_reduced(generate, inputs)
            finally:
                self._generating, self._cache = False, None

        return checked

    def _generates_on(self, cache: Any) -> bool:
        """Whether the cache has seen a forward of the `generate` that runs; from now on it has."""
        seen = cache is not None and cache is self._cache
        self._cache = cache if self._generating else None
        return seen

    def _generate_reduced(self, generate: Callable[..., Any], inputs: Inputs) -> Any:
        """Generate from the short prompts; the sequences that come back begin with the prompts as given."""
        assert self.before is not None
        inputs = _with_ids(inputs)
        config = inputs.get("generation_config") or getattr(self.model, "generation_config", None)
        self.prompt = prompt = self._reduced(inputs)
        try:
            lengths = _own_lengths(inputs, config, prompt)
            output = generate(**self._without_images(inputs, prompt), **lengths)
        finally:
            self.prompt = None
        return _with_full_prompt(output, prompt)

    def _reduced(self, inputs: Inputs) -> Shortened:
        """Encode and reduce the images of these inputs."""
        assert self.before is not None
        return self.before.from_inputs(inputs, self.questions, self.seeds)

    def _without_images(self, inputs: Inputs, prompt: Shortened) -> Inputs:
        """Return the inputs with the short prompt, its images embedded, in place of the full one."""
        family: Any = self.family
        taken = {*family.processor_inputs, "input_ids", "attention_mask", "position_ids", "labels"}
        taken.add("mm_token_type_ids")  # the positions that follow from them are among what is returned
        rest = {name: value for name, value in inputs.items() if name not in taken}
        rest.update(family.generate_inputs(self.model, prompt.ids, prompt.images, prompt.position_ids))
        if prompt.mask is not None:
            rest["attention_mask"] = prompt.mask
        if inputs.get("position_ids") is not None and prompt.position_ids is None:
            rest["position_ids"] = prompt.positions(inputs["position_ids"])
        if inputs.get("labels") is not None:
            rest["labels"] = prompt.gathered(inputs["labels"], -100)
        return rest

    def _past(self, inputs: Inputs) -> int:
        """Return how many tokens the given cache holds; refuse caches that drops can't be made in."""
        cache = cache_in(inputs)
        return checks.check_cache(cache) if self.drops else _seen(cache)

    def _before_model(self, model: nn.Module, args: Any, kwargs: Inputs) -> tuple[Any, Inputs]:
        """Check the inputs and put the state of this forward among them."""
        inputs = _named(model.forward, args, kwargs)
        cache, past = cache_in(inputs), self._past(inputs)
        reduces = self.before is not None and self.family.has_images(inputs)
        if self.drops or reduces:
            checks.check_filled(self.family.has_images(inputs), past)
            checks.check_forward(inputs, past)
        checks.check_labels(self.selector, inputs.get("labels"))
        if past:
            record: CacheRecord | None = getattr(cache, "pdrop_record", None)
            if record is not None and record.prompt is not None:
                inputs = record.prompt.continued(inputs, past)
            inputs[STATE] = Continuation(
                record, past, self.setup.rotary, self.setup.attention, self._generates_on(cache)
            )
            return (), inputs
        self._generates_on(cache)
        vars(self.report).update(vars(Report()))  # in place: the caller holds on to it
        prompt = self.prompt
        if prompt is None and self.family.multimodal:
            self.report.lengths = lengths_of_inputs(self.family, self.model, inputs)
        if reduces and prompt is None:
            prompt = self._reduced(inputs)
            inputs = self._without_images(inputs, prompt)
            if "inputs_embeds" in inputs:
                del inputs["input_ids"]  # of both, a forward takes one
        labels = inputs.pop("labels", None) if self.drops or prompt is not None else None
        if prompt is None:
            places = self._places(inputs) if self.drops else None
            inputs[STATE] = Prefill(self.setup, self.report, self._image_mask(inputs), labels, places=places)
        else:
            self.report.lengths = lengths_of_prompt(prompt)
            prompt = prompt.repeated(len(_tokens(inputs)))
            inputs[STATE] = Prefill(self.setup, self.report, prompt.image, labels, prompt)
        if self.sharing is not None and labels is None and self.sharing.is_possible(inputs, self.config):
            inputs[STATE].sharing = self.sharing
        return (), inputs

    def _places(self, inputs: Inputs) -> Callable[[], Sequence[Places]] | None:
        """Return what tells where the images' tokens come from, or None where nothing does."""
        family = self.family
        if not isinstance(family, MultimodalFamily) or inputs.get("pixel_values") is None:
            return self.places
        pixels = {name: inputs[name] for name in family.processor_inputs if inputs.get(name) is not None}
        return partial(family.places, self.model, pixels)

    def _image_mask(self, inputs: Inputs) -> Tensor:
        """Return [b, n] bool for the rows of this forward, true on image tokens."""
        tokens = _tokens(inputs)
        rows, columns = tokens.shape[:2]
        mask = self.image_mask
        if mask is None:
            mask = self.family.image_mask(self.model.config, inputs)
        if mask is None and not self.drops:
            mask = torch.zeros(rows, columns, dtype=torch.bool)
        if mask is None:
            raise UserError(
                "Image tokens can't be found in inputs_embeds: pass input_ids, or give image_mask."
            )
        if mask.shape[1] != columns or rows % mask.shape[0]:
            raise UserError(
                f"image_mask has shape {tuple(mask.shape)}, but this forward has {rows} rows of {columns} "
                "tokens: open a context with the mask of this batch."
            )
        # Beam search and num_return_sequences repeat every row.
        return mask.to(tokens.device).repeat_interleave(rows // mask.shape[0], dim=0)

    def _before_decoder(self, decoder: nn.Module, args: Any, kwargs: Inputs) -> tuple[Any, Inputs]:
        """Let the state read the decoder's own inputs, after the multimodal model has prepared them."""
        inputs = _named(decoder.forward, args, kwargs)
        if STATE not in inputs:
            name = type(self.model).__name__
            raise UserError(f"Call the {name} that the strategy was opened on, not a module inside it.")
        tokens = inputs["input_ids"] if inputs.get("inputs_embeds") is None else inputs["inputs_embeds"]
        if isinstance(state := inputs[STATE], Prefill):
            # Where a prefix may be left out, the decoder's own columns are none of the layers'.
            before = [drop.layer for drop in self.drops] if state.sharing is None else [0]
            added = self.family.added_features(inputs, before)
            state.added = None if added is None else AddedFeatures(*added)
        inputs[STATE].begin(inputs.get("attention_mask"), inputs.get("position_ids"), tokens)
        return (), inputs

    def _after_decoder(self, decoder: nn.Module, args: Any, kwargs: Inputs, output: Any) -> Any:
        """Let the state shorten the output and fill the report."""
        state = kwargs[STATE]
        if isinstance(output, tuple):
            return (state.finish(output[0]), *output[1:])
        output.last_hidden_state = state.finish(output.last_hidden_state)
        return output

    def _after_model(self, model: Any, args: Any, kwargs: Inputs, output: Any) -> Any:
        """Compute the loss on the shortened sequence, where labels were given."""
        state = kwargs[STATE]
        if not isinstance(state, Prefill) or state.labels is None:
            return output
        self.report.labels = labels = state.output_labels()
        logits = output[0] if isinstance(output, tuple) else output.logits
        extra = {name: kwargs[name] for name in ("num_items_in_batch",) if name in kwargs}
        vocab_size = self.config.vocab_size
        loss = model.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **extra)
        return (loss, *output) if isinstance(output, tuple) else type(output)(**{"loss": loss, **output})


def _before_layer(number: int, layer: nn.Module, args: Any, kwargs: Inputs) -> tuple[Any, Inputs]:
    """Take the state out of the layer's keyword arguments and let it replace the layer's inputs."""
    kwargs = dict(kwargs)
    state = kwargs.pop(STATE)
    hidden, rest = (args[0], args[1:]) if args else (kwargs.pop("hidden_states"), ())
    return (state.enter_layer(number, layer, hidden, kwargs), *rest), kwargs


def _refuse_batch(*args: Any, **kwargs: Any) -> Any:
    raise UserError("generate_batch packs sequences, from which tokens can't be dropped: use generate.")


def _named(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Inputs) -> Inputs:
    """Return all arguments by name."""
    return (
        {**dict(zip(inspect.signature(function).parameters, args, strict=False)), **kwargs}
        if args
        else kwargs
    )


def _tokens(inputs: Inputs) -> Tensor:
    """Return the ids [b, n] or embeddings [b, n, d] of a forward."""
    tokens: Tensor = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
    return tokens


def _with_ids(inputs: Inputs) -> Inputs:
    """Return generate's arguments with its first one, the prompts, under the name that forward has for it."""
    inputs = dict(inputs)
    given = inputs.pop("inputs", None)
    return inputs if given is None else {"input_ids": given, **inputs}


def _own_lengths(inputs: Inputs, config: Any, prompt: Shortened) -> Inputs:
    """Take `max_length` and `min_length`, which count the full prompt, out of `inputs`; return short ones.

    Args:
        inputs: of generate; changed.
        config: the generation config, where lengths that `inputs` doesn't have come from.
        prompt: the short prompts.
    """
    removed, found = prompt.full_ids.shape[1] - prompt.ids.shape[1], {}
    for name, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        length = inputs.pop(name, None) or getattr(config, name, None)
        other = inputs.get(new) or getattr(config, new, None)
        if length is not None and other is None:
            found[name] = max(0, length - removed)
    return found


def _with_full_prompt(output: Any, prompt: Shortened) -> Any:
    """Return what generate gave, with the prompts as they were given in front of the new tokens."""
    sequences = output if isinstance(output, Tensor) else output.sequences
    full = prompt.repeated(len(sequences)).full_ids
    whole = torch.cat((full, sequences[:, prompt.ids.shape[1] :]), dim=1)
    if isinstance(output, Tensor):
        return whole
    output.sequences = whole
    return output


def _seen(cache: Any) -> int:
    """Return the number of tokens in any cache, or in none."""
    return 0 if cache is None else int(cache.get_seq_length())


def _restore(target: nn.Module, name: str, before: Any) -> None:
    """Put an instance attribute back as it was."""
    if before is None:
        del vars(target)[name]
    else:
        vars(target)[name] = before
