"""Other cases of the golden kinds of further families: other layers, shares, steps, names, ids given later.

Their models are those of the official cases, and a masking oracle says what is right: transformers' eager
attention, in which no token leaves, and from a drop's layer on its keys are masked.
"""

import json

import golden_driver
import pytest
import torch
from golden_case import Case
from safetensors.torch import load_file, save_file

golden_driver.registered()  # imports what the first case would wait for


class Masked:
    """A family's case and what the oracle says of it."""

    def __init__(self, source):
        from golden_methods import families

        self.case = Case(golden_driver.FOLDER, source)
        try:
            self.inputs, self.model = self.case.weights("inputs"), families.model_of(self.case, "eager")
        except golden_driver.MissingError as missing:
            pytest.skip(str(missing))
        self.layers = self.model.model.language_model.layers
        self.columns = torch.tensor(self.case.value("input", "image_columns"))

    def run(self, layer=None, dropped=(), **inputs):
        """One forward pass, the columns `dropped` masked from `layer` on."""

        def mask(_module, given, named):
            values = named["attention_mask"].clone()
            values[..., list(dropped)] = torch.finfo(values.dtype).min
            return given, {**named, "attention_mask": values}

        at = self.layers[layer:] if layer is not None and len(dropped) else ()
        hooks = [one.register_forward_pre_hook(mask, with_kwargs=True) for one in at]
        with torch.no_grad():
            output = self.model(**{**self.inputs, **inputs}, use_cache=False, output_attentions=True)
        for hook in hooks:
            hook.remove()
        return output

    def answer(self, steps, layer, dropped):
        """(tokens, logits [steps, vocabulary]) greedily, each token by a whole new pass."""
        below, rows, told = self.case.value("input", "decode_over_ids_below"), [], []
        grown = {
            name: value
            for name, value in self.inputs.items()
            if name in ("input_ids", "attention_mask", "mm_token_type_ids")
        }
        fill = {"attention_mask": 1, "mm_token_type_ids": 0}
        for _ in range(steps):
            rows.append(self.run(layer, dropped, **grown).logits[0, -1])
            told.append(int(rows[-1][:below].argmax()))
            grown = {
                name: torch.cat((value, torch.full_like(value[:, :1], fill.get(name, told[-1]))), 1)
                for name, value in grown.items()
            }
        return told, torch.stack(rows)


def run(folder, name, of, method, params, kept, layer, scores=None):
    """Write a case of the oracle's; returns what the driver says of it."""
    gone = sorted(set(range(len(of.columns))) - set(kept))
    tokens, logits = of.answer(4, layer, of.columns[gone].tolist())
    data = {key: of.case.data[key] for key in ("config", "input")}
    data |= {"method": method, "params": params,
             "expected": {"kept_image_indices": [kept], "decode_tokens": tokens}}  # fmt: skip
    source = load_file(golden_driver.FOLDER / f"{of.case.name}.safetensors")
    tensors = {key: value for key, value in source.items() if key.startswith(("weights/", "inputs/"))}
    tensors |= {"prefill_logits_last": logits[0].clone(), "decode_logits": logits}
    tensors |= {} if scores is None else {"stage0_scores": scores.contiguous()}
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(data))
    return golden_driver.run(folder, name)


SOURCES = ["fam_qwen2_5_vl_given", "fam_internvl_qwen3_given"]  # three-dimensional positions, and plain ones


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("k", "r"), [(1, 0.8), (5, 0.33)])
def test_fastv_at_other_layers(tmp_path, source, k, r):
    of = Masked(source)
    scores = of.run().attentions[k - 1][0].mean(0)[-1, of.columns]
    count = round(len(scores) * (1 - r))
    kept = sorted(sorted(range(len(scores)), key=lambda i: -float(scores[i]))[:count])
    name = source.replace("given", "fastv_other")
    run(tmp_path, name, of, "fastv", {"method": "fastv", "k": k, "r": r}, kept, k, scores)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("layer", "kept"), [(0, [1, 2, 30]), (3, [0, 7, 8, 40]), (2, [])])
def test_given_ids_at_other_layers(tmp_path, source, layer, kept):
    of = Masked(source)
    run(tmp_path, f"{source}_at_{layer}", of, "given", {"method": "given", "layer": layer}, kept, layer)
