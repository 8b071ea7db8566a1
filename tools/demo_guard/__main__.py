"""Trains both demo checkpoints and exports them into the package: ``python -m tools.demo_guard``."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from .evaluate import WEIGHTS
from .export import export
from .lexicon import load
from .tokenizer import train_tokenizer
from .train import Recipe, train

VOCABULARY = 3584
RECIPES = {
    "bare": Recipe(steps=4200, batch=96, single_share=1.0),
    "gen": Recipe(steps=3000, learning_rate=1.5e-3, single_share=0.5),
    "stream": Recipe(steps=2600, learning_rate=1.5e-3, single_share=0.3),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=WEIGHTS, help="where the checkpoints go")
    parser.add_argument("--without-dev", action="store_true", help="leave the development split out, to measure on it")
    parser.add_argument("--work", type=Path, help="where intermediate files go (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        build(work, arguments.target, "train" if arguments.without_dev else "all")


def build(work: Path, target: Path, split: str) -> None:
    """Trains the tokenizer, the common first stage, then both second stages side by side, and exports the models."""
    started = time.time()
    tokenizer_file = work / "tokenizer.json"
    recipes = {kind: replace(recipe, split=split) for kind, recipe in RECIPES.items()}
    train_tokenizer(load(split), VOCABULARY, seed=1).save(str(tokenizer_file))
    weights = {kind: work / f"{kind}.pt" for kind in recipes}
    train("bare", tokenizer_file, recipes["bare"], weights["bare"])
    context = multiprocessing.get_context("spawn")
    runs = [
        context.Process(target=train, args=(kind, tokenizer_file, recipes[kind], weights[kind], weights["bare"]))
        for kind in ("gen", "stream")
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    if any(run.exitcode for run in runs):
        raise SystemExit("a training run failed")
    size = export(tokenizer_file, weights["gen"], weights["stream"], target)
    print(f"exported {size:,} bytes to {target} after {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
