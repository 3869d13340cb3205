"""What a row of the paper's tables is: a model as it was trained, and a strategy as it is used on it."""

from dataclasses import dataclass

STRATEGIES = {"vanilla": "vanilla", "fastv": "FastV", "pdrop": "PDrop"}
ARCHITECTURES = {"llava-next": "LLaVA-NeXT", "llava-1.5": "LLaVA-1.5"}
SIZES = {"7b": "-7B"}


@dataclass(frozen=True)
class RowKey:
    """Two rows are the same if these agree; the size of the model is a matter of the whole table.

    patches: images that a picture is cut into. train: the strategy in training, with PyramidDrop's λ as
    `train_ratio`. strategy: the one at inference, with its λ as `ratio` if it is PyramidDrop.
    """

    architecture: str
    patches: int
    train: str
    train_ratio: float | None
    strategy: str
    ratio: float | None

    @property
    def trained(self) -> str:
        """The strategy in training as the paper prints it."""
        return strategy_name(self.train)

    @property
    def inferred(self) -> str:
        """The strategy at inference as the paper prints it."""
        return strategy_name(self.strategy)

    @property
    def lam(self) -> str:
        """The row's name in the ablation over λ."""
        return self.trained if self.train_ratio is None else str(self.train_ratio)

    @property
    def model(self) -> str:
        """The model in words: `LLaVA-NeXT p5 trained with PDrop λ=0.5`."""
        patches = f" p{self.patches}" if self.patches > 1 else ""
        return f"{ARCHITECTURES.get(self.architecture, self.architecture)}{patches} {self.training}"

    @property
    def training(self) -> str:
        """How the model was trained, in words."""
        if self.train == "vanilla":
            return "trained without dropping"
        return f"trained with {self.trained}" + (f" λ={self.train_ratio}" if self.train_ratio else "")


def strategy_name(strategy: str) -> str:
    """A strategy's name as the paper prints it, or as it is if the paper doesn't know it."""
    return STRATEGIES.get(strategy, strategy)


def family_name(architecture: str, size: str) -> str:
    """A model's name in a table: `LLaVA-NeXT-7B`, `LLaVA-1.5 mini`."""
    return ARCHITECTURES.get(architecture, architecture) + SIZES.get(size, f" {size}")
