"""VTW's K for a model: the rule of `rules.vtw` on the model's own answers."""

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from pdrop_eval.run.calibrate.loss import Loss
from pdrop_eval.run.calibrate.outcome import Outcome, same_image_tokens
from pdrop_eval.run.calibrate.plan import CalibrationPlan
from pdrop_eval.run.calibrate.questions import ask
from pdrop_eval.run.calibrate.rules import vtw as rule
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.strategies.make import instantiate_strategy


def find(plan: CalibrationPlan, model: Any, questions: Sequence[Prepared]) -> Outcome:
    """Return K.

    Raises:
        UserError: no K qualifies, or the model is too shallow for any.
    """
    spec = plan.spec
    eta = rule.usual_eta(model.config) if spec.eta is None else float(spec.eta)
    tried = rule.candidates(model.config.get_text_config().num_hidden_layers)
    full = ask(model, model.strategy, questions, spec.seed)
    losses = []
    for k in tqdm(tried, desc="K", unit="layer", leave=False, disable=None):
        settings = {"_target_": spec.strategy.target, **spec.strategy.settings, "k": k}
        losses.append(Loss.of(ask(model, instantiate_strategy(settings), questions, spec.seed), full))
    k = rule.choose_k([loss.mean for loss in losses], tried, eta)
    return Outcome(
        settings={"k": k},
        words=(
            f"K is the first layer from {rule.FIRST} whose mean divergence is at most eta: sum of p_w (log "
            "p_w - log p) of the answer's first token, p_w without image tokens from K on (VTW's official "
            "code, a3d8cfc)"
        ),
        rule_settings={"eta": eta, "first": rule.FIRST},
        tried=[{"settings": {"k": k}, **loss.to_dict()} for k, loss in zip(tried, losses, strict=True)],
        image_tokens=same_image_tokens(full.tokens),
        found={"divergence": losses[tried.index(k)].mean},
    )
