"""Train the start of the miniatures on rendered pictures: `make train-mini`, `make train-mini-qwen`.

Two stages or three. `vision` teaches the vision tower, the projector and the word embeddings what each patch
shows; `joint` freezes the tower, as LLaVA does, and teaches the decoder to answer questions; `together`
trains both while image tokens are left out, so that tokens come to know what others show. Matrices are
trained by Muon, the rest by AdamW, in bfloat16 with float32 master weights, by processes of one thread each.
A run is a function of its seed and of the number of processes, and goes on from its last checkpoint.
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional as F

from tools.mini.training.architectures import ARCHITECTURES
from tools.mini.training.checkpoints import load_state, save_state
from tools.mini.training.network import Guide
from tools.mini.training.vocabulary import EOS


class Trainer:
    """The state of one process of one training run."""

    def __init__(self, options: argparse.Namespace, rank: int):
        torch.manual_seed(options.seed)
        torch.set_num_threads(1)
        self.options, self.rank = options, rank
        self.folder = Path(options.out)
        self.kind = ARCHITECTURES[options.architecture]
        self.master = self.kind.build()
        self.heads = self.kind.heads(self.master.config.text_config.hidden_size)
        self.replicate()
        self.stage, self.step, self.seconds, self.mean_loss = self.kind.stages[0], 0, 0.0, 0.0

    def replicate(self) -> None:
        """Make the bfloat16 replica of the master weights anew."""
        self.compute = copy.deepcopy(self.master).bfloat16()
        self.compute.set_attn_implementation("packed")

    def begin(self, stage: str) -> None:
        """Set the optimizers of a stage up."""
        self.stage = stage
        for model in (self.master, self.compute):
            self.kind.choose(model, stage)
        weights = dict(self.master.named_parameters()) | dict(self.heads.named_parameters())
        replicas = dict(self.compute.named_parameters()) | dict(self.heads.named_parameters())
        self.pairs = [(weights[n], replicas[n]) for n in weights if weights[n].requires_grad]
        # Label heads take part in the first and the third stage only.
        matrices: list[torch.Tensor] = []
        others: list[torch.Tensor] = []
        for name, weight in weights.items():
            if weight.requires_grad:
                plain = weight.ndim == 2 and not any(
                    p in name for p in ("embed", "lm_head", "none", "places")
                )
                (matrices if plain else others).append(weight)
        self.optimizers = [
            torch.optim.Muon(matrices, lr=self.kind.rates[stage][0], weight_decay=0.01, momentum=0.95),
            torch.optim.AdamW(others, lr=self.kind.rates[stage][1], betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.rates = self.kind.rates[stage]

    def steps(self, stage: str | None = None) -> int:
        """How many steps a stage has, by default the current one."""
        return getattr(self.options, f"{stage or self.stage}_steps")

    def progress(self) -> float:
        """How much of the stage is done, 0 to 1."""
        return self.step / self.steps()

    def rate(self) -> float:
        """The learning rate's factor: warm-up, hold, linear decay to zero, where the accuracy comes."""
        warm = min(1.0, (self.step + 1) / 30)
        hold = 0.4
        return warm * min(1.0, (1 - self.progress()) / (1 - hold))

    def batch(self):
        """This process's share of the step's pictures."""
        pictures = self.kind.pictures[self.stage]
        share = pictures // self.options.processes
        first = self.step * pictures + self.rank * share
        easy = self.stage == "joint" and self.progress() < self.kind.easy
        return self.kind.batch(f"train:{self.options.seed}:{self.stage}", range(first, first + share), easy)

    def backward(self) -> tuple[float, dict]:
        """Forward and backward of one step; returns the loss and what to log."""
        batch = self.batch()
        if self.stage in self.kind.lessons:
            loss, known = self.kind.lessons[self.stage](self.compute, self.heads, batch)
            loss.backward()
            return loss.item(), known
        guided = self.kind.is_guided and self.progress() < self.options.guided
        guide = Guide(batch.evidence, batch.option) if guided else None
        logits, targets = self.kind.logits(self.compute, batch, guide)
        loss = F.cross_entropy(logits, targets)
        if not guide:
            loss.backward()
            return loss.item(), {}
        led = torch.stack(guide.losses).sum()
        (loss + 0.6 * led).backward()
        return loss.item(), {"guide": round(led.item(), 3)}

    def update(self, loss: float) -> float:
        """Average the gradients over the processes and step the optimizers; returns the mean loss."""
        used = [(master, replica) for master, replica in self.pairs if replica.grad is not None]
        parts = [replica.grad.float().view(-1) for _, replica in used]
        flat = torch.cat([*parts, torch.tensor([loss])])
        dist.all_reduce(flat)
        flat /= self.options.processes
        norm = flat[:-1].norm().item()
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is {norm} at step {self.step} of stage {self.stage}")
        start = 0
        for master, replica in used:
            master.grad = flat[start : start + replica.numel()].view_as(master).clone()
            start += replica.numel()
            if replica is not master:
                replica.grad = None
        # Muon's step does not depend on the gradient's size; AdamW's share is clipped to norm 1.
        for group in self.optimizers[1].param_groups:
            for weight in group["params"]:
                if weight.grad is not None and norm > 1:
                    weight.grad /= norm
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.publish()
        return flat[-1].item()

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the master weights to the bfloat16 replica."""
        sources = [m for m, r in self.pairs if r is not m]
        targets = [r for m, r in self.pairs if r is not m]
        torch._foreach_copy_(targets, sources)

    @torch.no_grad()
    def validate(self, pictures: int = 128) -> dict:
        """Exact match by task on held-out pictures, answers forced, shared among the processes."""
        counts: dict[str, list[int]] = {}
        share = pictures // self.options.processes
        for start in range(self.rank * share, (self.rank + 1) * share, 16):
            batch = self.kind.batch("validate", range(start, min(start + 16, (self.rank + 1) * share)))
            logits, targets = self.kind.logits(self.compute, batch, None)
            right = iter((logits.argmax(-1) == targets).tolist())
            # An answer ends with the end token: the answers come in the order of the questions.
            ends = iter((targets == EOS).tolist())
            for tasks in batch.tasks:
                for task in tasks:
                    whole = next(right)
                    while not next(ends):
                        whole = next(right) and whole
                    count = counts.setdefault(task, [0, 0])
                    count[0] += whole
                    count[1] += 1
        gathered: list[dict] = [{}] * self.options.processes
        dist.all_gather_object(gathered, counts)
        tasks = sorted({task for part in gathered for task in part})
        sums = {task: [sum(part.get(task, [0, 0])[i] for part in gathered) for i in (0, 1)] for task in tasks}
        return {task: round(good / total, 3) for task, (good, total) in sums.items()}

    def log(self, entry: dict) -> None:
        """Append a line to the log and show it."""
        if self.rank == 0:
            entry = {"stage": self.stage, "step": self.step, "seconds": round(self.seconds), **entry}
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
            left = self.seconds / max(self.step, 1) * (self.steps() - self.step) / 60
            print(json.dumps(entry), f"{left:.0f} min left in this stage", flush=True)

    def run(self) -> None:
        """All stages, from wherever the last checkpoint stopped."""
        state = load_state(self.folder)
        if state:
            self.restore(state)
        else:
            self.kind.begin(self.master)
            self.replicate()
            self.begin(self.stage)
        self.run_stage()
        for number, stage in enumerate(self.kind.stages):
            if number <= self.kind.stages.index(self.stage) or not self.steps(stage):
                continue
            torch.manual_seed(self.options.seed + number)  # whatever was drawn since the start
            self.master = self.kind.cross_over(self.master, stage)
            self.replicate()
            self.begin(stage)
            self.step, self.seconds = 0, 0.0
            self.checkpoint()
            self.run_stage()
        if self.rank == 0:
            self.kind.keep(self.master, self.heads, self.folder)

    def run_stage(self) -> None:
        """The remaining steps of the current stage."""
        while self.step < self.steps():
            began = time.monotonic()
            loss, extra = self.backward()
            loss = self.update(loss)
            self.mean_loss = loss if self.step == 0 else 0.97 * self.mean_loss + 0.03 * loss
            self.step += 1
            self.seconds += time.monotonic() - began
            if self.step % 50 == 0:
                self.log({"loss": round(self.mean_loss, 4), **extra})
            if self.stage != "vision" and self.step % 500 == 0:
                self.log({"validation": self.validate()})
            if self.step % self.options.checkpoint_every == 0 or self.step == self.steps():
                self.checkpoint()

    def checkpoint(self) -> None:
        """Write everything that is needed to go on."""
        if self.rank == 0:
            progress = {
                "stage": self.stage,
                "step": self.step,
                "seconds": self.seconds,
                "loss": self.mean_loss,
            }
            save_state(self.folder, progress, {"model": self.master, "heads": self.heads}, self.optimizers)
        dist.barrier()

    def restore(self, state: dict) -> None:
        """Take up a checkpoint."""
        self.step, self.seconds, self.mean_loss = state["step"], state["seconds"], state["loss"]
        self.master = self.kind.built_for(state["stage"])
        self.master.load_state_dict(state["modules"]["model"])
        self.heads.load_state_dict(state["modules"]["heads"])
        self.replicate()
        self.begin(state["stage"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": saved})


def _work(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """One process of the run."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.processes)
    Trainer(options, rank).run()
    dist.destroy_process_group()


def main() -> None:
    """Parse the command line and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--architecture", default="llava", choices=tuple(ARCHITECTURES))
    parser.add_argument("--out", default="results/mini-training", help="folder of checkpoints and log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, choices=(1, 2, 4, 8), help="of one thread each")
    parser.add_argument("--vision-steps", type=int, default=1800)
    parser.add_argument("--joint-steps", type=int, default=5500)
    parser.add_argument("--together-steps", type=int, default=1500)
    parser.add_argument(
        "--guided", type=float, default=0.75, help="share of the second stage with guided attention"
    )
    parser.add_argument("--checkpoint-every", type=int, default=250, metavar="STEPS")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arguments.json").write_text(
        json.dumps({k: v for k, v in vars(options).items() if k not in ("out", "checkpoint_every")})
    )
    meeting = folder / f"meeting-{os.getpid()}"
    torch.multiprocessing.spawn(_work, (options, str(meeting.resolve())), nprocs=options.processes)
    meeting.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
