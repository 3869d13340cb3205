"""The model of the last run, kept for the next one. Importing this needs no torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdrop_eval.models.towers.encoded import Needs
    from pdrop_eval.run.evaluate.plan import Plan


class Models:
    """Opens models for runs one after the other.

    Runs of one checkpoint with the same settings share a model, and with it the features of the images that
    were encoded; a run of another one closes it first. Answers are the same with and without.
    """

    def __init__(self) -> None:
        self._key = ""
        self._model: Any = None
        self._needs: dict[str, Needs] = {}

    def expect(self, plan: "Plan", strategy: Any) -> None:
        """Say that a run is to come: an image is then encoded once for what all of them look at."""
        if (reducer := getattr(strategy, "reducer", None)) is not None:
            key = _key(plan)
            self._needs[key] = reducer.needs | self._needs.get(key, reducer.needs)

    def open(self, plan: "Plan", strategy: Any) -> Any:
        """Return the model of a plan under a strategy.

        Raises:
            UserError: a strategy that can't be used on the model.
        """
        from pdrop_eval.run.lmms.open import open_model

        if self._model is not None and self._key == _key(plan):
            self._model.use(strategy)
        else:
            self._model = None  # before the next one is loaded: there may be no room for two
            self._model, self._key = open_model(plan, strategy), _key(plan)
        self._model.features.expected = self._needs.get(self._key)
        return self._model


def _key(plan: "Plan") -> str:
    """What decides a model, beside the strategy on it."""
    from pdrop_eval.run.lmms.open import model_settings

    return repr((plan.config.model.pretrained, plan.identity["model_sha256"], model_settings(plan)))
