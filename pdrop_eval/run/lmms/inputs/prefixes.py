"""Which questions are answered on what others of the same images have left: their prompts' prefix."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

from pdrop_eval.engine.context import StagedForward
from pdrop_eval.engine.prefix.cache import GIB, PrefixCache
from pdrop_eval.engine.prefix.fits import shared_layers, states_needed, unshared
from pdrop_eval.engine.prefix.sharing import token_bytes
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.utils.prefix_setting import OFF, ON, refuse, setting_of
from pdrop_eval.utils.terminal import log


class PrefixReuse:
    """Decides for each window of questions which of them share prefixes, and holds these.

    With "auto", those share one whose images come more than once in the window, or have done so lately: what
    nobody asks for again isn't held. This is decided by the order of the questions alone, so that a run which
    resumes decides as one that was never stopped.

    Args:
        choice: "auto", "on" or "off".
        gib: GiB of the device's memory for prefixes.
        model: the model.
        family: its family.

    Raises:
        UserError: another choice.
    """

    def __init__(self, choice: Any, gib: Any, model: Any, family: Any):
        self.choice = setting_of(choice)
        self.strategy: Any = None
        self.model, self.family = model, family
        self.cache = PrefixCache(float(gib))
        self.reason, self._token_bytes = "", 0
        self._shared: set[str] = set()
        self._lately: OrderedDict[str, int] = OrderedDict()

    def use(self, strategy: Any) -> None:
        """Begin a task with a strategy, and let go of what another one has left.

        Raises:
            UserError: "on", and nothing can be shared under this strategy, or it doesn't fit the memory.
        """
        self._lately.clear()  # with each task: a run that resumes has those left out that are finished
        self._shared = set()
        if strategy is self.strategy:
            return
        self.strategy = None  # so that what is refused now is refused again
        self.cache.clear()
        if self.choice != OFF:
            self._settle(strategy)
        self.strategy = strategy

    def _settle(self, strategy: Any) -> None:
        """Find out whether anything can be shared under a strategy. Raises as `use`."""
        text = self.model.config.get_text_config()
        self.reason = unshared(self.family, text, strategy)
        if self.choice == ON:
            refuse(self.reason)
        if self.reason:
            return
        depth = text.num_hidden_layers
        layers, states = shared_layers(strategy, depth), states_needed(strategy, depth)
        self._token_bytes = token_bytes(text, self.model.dtype, layers, states)
        self._check_nominal(strategy)

    def plan(self, questions: Sequence[Prepared], sampled: bool) -> list[int]:
        """Note which of a window's questions share prefixes, and return their places, the others' first.

        Args:
            questions: in the order in which they are to be answered.
            sampled: whether answers are drawn by chance. It goes by the batch, so batches stay as they are.
        """
        keys = [self._key(question) for question in questions]
        times = Counter(key for key in keys if key)
        self._shared = set()
        if self.choice != OFF and not self.reason and not sampled:
            for key, question in zip(keys, questions, strict=True):
                if key and (self.choice == ON or times[key] > 1 or key in self._lately):
                    self._shared.add(key)
                    self._note(key, len(question.ids) * self._token_bytes)
        first = {key: place for place, key in reversed(list(enumerate(keys)))}

        def order(place: int) -> tuple[bool, int, int]:
            shares = keys[place] in self._shared
            return shares, first[keys[place]] if shares else place, place

        return sorted(range(len(keys)), key=order)

    def together(self, waiting: Sequence[tuple[int, Prepared]], most: int) -> int:
        """Return how many of those that wait are the next batch: of one kind, at most so many."""
        kinds = [self._key(question) in self._shared for _, question in waiting[:most]]
        return next((place for place, kind in enumerate(kinds) if kind != kinds[0]), len(kinds))

    def staged(self, strategy: Any, batch: Sequence[Prepared]) -> StagedForward:
        """Return a strategy's context for a batch, with its prefixes where it shares them."""
        keys = [self._key(question) for question in batch]
        shared = strategy is self.strategy and all(key in self._shared for key in keys)
        more = {"prefixes": self.cache, "prefix_keys": keys} if shared else {}
        staged: StagedForward = strategy(self.model, **more)
        return staged

    def let_go(self, forever: bool) -> bool:
        """Let go of all prefixes, where memory is full.

        Args:
            forever: and hold none of this strategy's any more.

        Returns:
            Whether there were any.
        """
        held = len(self.cache) > 0
        self.cache.clear()
        if held and forever:
            self.reason = "the memory was full"
            self._shared = set()
            log.event("prefixes_let_go", level="warning")
        return held

    def _key(self, question: Prepared) -> str:
        """Return what a prefix follows from: its images and its token ids; "" where there are no images."""
        if not question.pictures:
            return ""
        mask = self.family.image_mask(self.model.config, {"input_ids": question.ids})
        image = [] if mask is None else mask.nonzero()
        if not len(image):
            return ""
        digest = hashlib.sha256(question.ids[: int(image[-1]) + 1].numpy().tobytes())
        for picture in question.pictures:
            digest.update(picture.sha256.encode())
        return digest.hexdigest()

    def _note(self, key: str, nbytes: int) -> None:
        """Keep a record of what the cache may hold: by the questions, whatever was recalled of them."""
        self._lately.pop(key, None)
        self._lately[key] = nbytes
        while sum(self._lately.values()) > self.cache.limit_bytes:
            self._lately.popitem(last=False)

    def _check_nominal(self, strategy: Any) -> None:
        """Refuse, or with "auto" say, that the prefix of a usual image doesn't fit."""
        shape = self.family.nominal_shape(self.model.config)
        tokens = shape.tokens if strategy.adaptive else strategy.entering(shape.tokens, shape.patches)
        needed = tokens * self._token_bytes
        if needed <= self.cache.limit_bytes:
            return
        words = (
            f"the prefix of a prompt with one image takes {needed / GIB:.1f} GiB under {strategy.name}, and "
            f"prefix_memory={self.cache.limit_bytes / GIB:g} holds less"
        )
        if self.choice == ON:
            refuse(words)
        log.log_rank_zero(f"Questions of one image share nothing: {words}.")


def total_memory(device: Any) -> int | None:
    """Return the bytes of a device's memory, a GPU's or the processor's; None: there is no such device."""
    import psutil
    import torch

    if device.type == "cuda":
        if (device.index or 0) >= torch.cuda.device_count():
            return None
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)
