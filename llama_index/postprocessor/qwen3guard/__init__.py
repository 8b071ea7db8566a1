"""Qwen3Guard among LlamaIndex's postprocessors, where LlamaHub looks for it."""

from qwen3guard_integrations.llama_index.nodes import Qwen3GuardNodePostprocessor

__all__ = ["Qwen3GuardNodePostprocessor"]
