"""VTW's choice of K: the divergence of each K and prompt, and the K of several thresholds."""

import torch
from golden_case import MismatchError

from golden_methods.decoder import llama, span_mask
from pdrop_eval.run.calibrate.rules import vtw as rule
from pdrop_eval.strategies.vtw import VTW
from pdrop_eval.utils.errors import UserError

FROM_WITHDRAWN = "sum p_withdrawn"


def check_find_k(case):
    params = case.params("first_candidate", "direction")
    if not params.get("direction", FROM_WITHDRAWN).startswith(FROM_WITHDRAWN):
        raise MismatchError(f"its divergence is {FROM_WITHDRAWN} * ..., not {params['direction']}")
    first = params.get("first_candidate", rule.FIRST)
    model = llama(case, "sdpa")
    tried = rule.candidates(model.config.num_hidden_layers, first)
    case.equal("candidates", tried, case.value("expected", "candidates"))
    divergences = []
    for number, place in enumerate(case.value("input")):
        embeds = case.tensor(f"inputs_embeds_{number}").float()
        mask = span_mask(embeds, place["image_start"], place["image_len"])
        full = _last(model, embeds)
        case.close_if_told(f"full_logits_last_{number}", full[0])
        divergences.append([rule.divergence(_last(model, embeds, k, mask), full).item() for k in tried])
    found = torch.tensor(divergences)
    case.close("kl", found, atol=1e-5)
    if "mean_kl" in case.value("expected"):
        case.close("mean_kl", found.mean(0), torch.tensor(case.value("expected", "mean_kl")), atol=1e-5)
    for eta, k in case.value("expected", "k_for_eta").items():
        chosen = _chosen(found.mean(0).tolist(), tried, float(eta))
        case.equal(f"K for eta={eta}", str(chosen), str(k))


def _last(model, embeds, k=None, mask=None):
    """The logits [1, v] of the last position, without the image from layer k on."""
    with torch.no_grad():
        if k is None:
            return model(inputs_embeds=embeds).logits[:, -1]
        with VTW(k=k)(model, image_mask=mask):
            return model(inputs_embeds=embeds).logits[:, -1]


def _chosen(means, tried, eta):
    """K, or None where none qualifies: an error here, a crash officially."""
    try:
        return rule.choose_k(means, tried, eta)
    except UserError as error:
        if f"is {min(means):.4g}" not in str(error):
            raise MismatchError(f"the error doesn't name the smallest mean: {error}") from error
        return None


METHODS = {"vtw-findk": {None: check_find_k}}
