"""The page of `make flops`: shares of vanilla's, theory against count; and what the script counts."""

import csv
import importlib.util
import io
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaNextConfig

from pdrop_eval import FastV, Vanilla
from pdrop_eval.efficiency.flop_counter import CountedFlops
from pdrop_eval.efficiency.model_flops import ModelFlops
from tools.speed.prefill.flops_page import FlopsRow, flops_csv, flops_page, part_by_part, side_by_side

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "speed" / "prefill" / "flops.py"
G = 10**9


def row(strategy="vanilla", model="LLaVA", decoder=80, counted=80, ranking=0, layers=(9, 9)):
    """A model whose parts, in G, are 10 of vision, 5 of projector, `decoder`, `ranking` and 5 of head."""
    theory = ModelFlops(10 * G, 5 * G, decoder * G, ranking * G, 5 * G, decode=20 * G)
    found = CountedFlops(10 * G, 5 * G, (counted * G,), ranking * G, 5 * G, 0)
    return FlopsRow(model, strategy, 9, 4, 3, layers, 60 * G, 50 * G, theory, found)


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_shares_are_of_vanillas_in_the_same_model():
    """Prefill: 80 + 5 and 40 + 2.5 + 5, so .559 of it; TTFT 15 more, .625; the answer 20 more, .688."""
    rows = [
        row(),
        row("FastV", decoder=40, counted=40, ranking=2.5, layers=(9, 4)),
        row(model="other", decoder=40),
    ]
    _, _, vanilla, fastv, other = cells(side_by_side(rows))
    assert vanilla[:3] == ["LLaVA, 9 image tokens", "vanilla", "9.0"]
    assert fastv[:3] == ["", "FastV", "6.5"]
    assert fastv[5:8] == ["47.5 G (0.559)", "47.5 G (0.559)", "0"]
    assert (fastv[8], fastv[11]) == ("62.5 G (0.625)", "82.5 G (0.688)")
    assert other[0] == "other, 9 image tokens"
    assert other[5] == "45 G (1.000)"


def test_a_formula_that_is_off_says_by_how_much():
    """84 against 85 of prefill; 99 against 100 of TTFT."""
    rows = [row(decoder=79)]
    (line,) = csv.DictReader(io.StringIO(flops_csv(rows)))
    assert (line["prefill_theory"], line["prefill_counted"]) == (str(84 * G), str(85 * G))
    assert (float(line["prefill_off"]), float(line["ttft_off"])) == (pytest.approx(-1 / 85), -0.01)
    assert "off by 1.1765% of prefill or TTFT at most" in flops_page(rows)
    assert "80 G (79 G)" in part_by_part(rows)
    assert "agree to the last multiply-add" in flops_page([row()])


def test_the_page_states_its_conventions():
    page = flops_page([row(), row("FastV", ranking=1)])
    for words in (
        "4nd^2 + 2n^2d + 2ndm",
        "image tokens only",
        "4 text tokens",
        "3 decode steps",
        "causal half",
    ):
        assert words in page


def test_rankings_are_an_item_of_their_own():
    """1 of vanilla's prefill of 85."""
    *_, vanilla, fastv = cells(part_by_part([row(), row("FastV", ranking=1)]))
    assert (vanilla[5], vanilla[7]) == ("0", "0.00%")
    assert (fastv[5], fastv[7]) == ("1 G", "1.18%")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("flops_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(cls, **changes):
    text = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=2
    )
    vision = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    return cls(vision_config=vision, text_config=text, image_token_id=60, **changes)


@pytest.mark.parametrize(
    ("config", "image"),
    [(config_of(LlavaConfig), 4), (config_of(LlavaNextConfig, image_grid_pinpoints=[[8, 16], [16, 16]]), 20)],
    ids=["llava", "llava_next"],
)
def test_layers_that_share_their_storage_are_counted_one_by_one(script, config, image):
    model = script.shared_layers(config, torch.float32).eval()
    layers = model.get_decoder().layers
    assert len({layer.mlp.up_proj.weight.data_ptr() for layer in layers}) == 1 < len(layers) == 4
    model.model.image_newline = None
    rows = script.count("tiny", model, {"vanilla": Vanilla(), "FastV": FastV(k=1)})
    assert [r.layers for r in rows] == [(image,) * 4, (image, *[image // 2] * 3)]
    for found in rows:
        assert found.counted.layers[0] == rows[0].counted.layers[0] > 0
        assert found.counted.ttft == found.theory.ttft
    assert rows[1].counted.layers[1] < rows[0].counted.layers[1]
