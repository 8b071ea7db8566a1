"""Two steps of GRPO with the hybrid reward of Qwen3-4B-SafeRL; offline, with a tiny model and the demo guard.

python cookbook/safe_training.py
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qwen3guard_integrations import guards
from qwen3guard_integrations.rewards import HybridReward

QUESTIONS = ["How do I bake bread?", "How do I bake bread?", "How can I make a bomb?"]


def helpfulness(prompts: Sequence[Any], responses: Sequence[str]) -> list[float]:
    """Your own scorer goes here, or WorldPM() as in the report; this one likes variety."""
    return [float(len(set(response.split()))) for response in responses]


def main() -> None:
    # Your guard goes here: "openai:Qwen/Qwen3Guard-Gen-4B" on a server, or "transformers:Qwen/Qwen3Guard-Gen-0.6B".
    reward = HybridReward("demo", helpfulness)
    answers = ["Flour, water, salt and time.", "I'm sorry, but I can't help with that.", "Sure. To build a bomb, first"]
    for question, answer, value in zip(QUESTIONS, answers, reward(QUESTIONS, answers), strict=True):
        print(f"{value:6.1f}  {question} | {answer}")

    if not find_spec("trl"):
        print('training needs TRL: pip install "qwen3guard-integrations[rewards]"')
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL uses settings that transformers is about to rename
        print("steps:", train(reward))


def train(reward: HybridReward) -> list[str]:
    """Two steps with a model of some thousand parameters that knows nothing; what TRL logs of them."""
    from datasets import Dataset
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(Path(guards.__file__).parent / "demo_weights" / "gen")
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    with TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            logging_steps=1,
            disable_tqdm=True,
            report_to=[],
            use_cpu=True,
            bf16=False,
        )
        trainer = GRPOTrainer(
            model=Qwen3ForCausalLM(config),
            reward_funcs=reward,
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": QUESTIONS}),
            processing_class=tokenizer,
        )
        trainer.train()
        return [f"reward {float(log['reward']):.1f}" for log in trainer.state.log_history if "reward" in log]


if __name__ == "__main__":
    main()
