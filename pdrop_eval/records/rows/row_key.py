"""What a row of the paper's tables is: a model as it was trained, and a strategy as it is used on it."""

from dataclasses import dataclass, field

from pdrop_eval.models.families import display_names
from pdrop_eval.strategies.registry import VANILLA, display_name

SIZES = {"7b": "-7B"}


@dataclass(frozen=True)
class RowKey:
    """Two rows are the same if these agree; the size of the model is a matter of the whole table.

    Attributes:
        architecture: The model's family.
        patches: Images that a picture is cut into.
        train: The strategy in training.
        train_ratio: PyramidDrop's λ in training.
        strategy: The strategy at inference.
        ratio: Its `ratio`, where it has one (PyramidDrop's λ) and no budget solved it.
        settings: Its other settings that are not the default, and its budget, as overrides.
        shown: The strategy with these settings in words; empty: its name.
    """

    architecture: str
    patches: int
    train: str
    train_ratio: float | None
    strategy: str
    ratio: float | None
    settings: tuple[str, ...] = ()
    shown: str = field(default="", compare=False)

    @property
    def trained(self) -> str:
        """The strategy in training as the paper prints it."""
        return display_name(self.train)

    @property
    def inferred(self) -> str:
        """The strategy at inference as the paper prints it, with the settings that are not the default."""
        return self.shown or display_name(self.strategy)

    @property
    def lam(self) -> str:
        """The row's name in the ablation over λ."""
        return self.trained if self.train_ratio is None else str(self.train_ratio)

    @property
    def model(self) -> str:
        """The model in words: `LLaVA-NeXT p5 trained with PDrop λ=0.5`."""
        patches = f" p{self.patches}" if self.patches > 1 else ""
        return f"{display_names().get(self.architecture, self.architecture)}{patches} {self.training}"

    @property
    def training(self) -> str:
        """How the model was trained, in words."""
        if self.train == VANILLA:
            return "trained without dropping"
        return f"trained with {self.trained}" + (
            f" λ={self.train_ratio}" if self.train_ratio is not None else ""
        )


def family_name(architecture: str, size: str) -> str:
    """A model's name in a table: `LLaVA-NeXT-7B`, `LLaVA-1.5 mini`."""
    return display_names().get(architecture, architecture) + SIZES.get(size, f" {size}")
