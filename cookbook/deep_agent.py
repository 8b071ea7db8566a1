"""A deep agent and its subagents, all screened; runs offline with the demo guard. Needs `pip install deepagents`.

python cookbook/deep_agent.py
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware

try:
    create_deep_agent: Any = import_module("deepagents").create_deep_agent
except ImportError:
    create_deep_agent = None


class Model(GenericFakeChatModel):
    """Your chat model; this one says what it is told to."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self


def main() -> None:
    if create_deep_agent is None:
        print("this recipe needs deepagents: pip install deepagents")
        return
    guard = load_guard("demo")  # or the name of the real one, see docs/guards.md
    # A subagent has a middleware list of its own. One named "general-purpose" is always there; unless you define it, it
    # has none of the lead's screening, and its tools run unscreened.
    helpers = ["writer", "general-purpose"]
    screens = {name: Qwen3GuardMiddleware(guard) for name in ["lead", *helpers]}
    subagents = [
        {
            "name": name,
            "description": f"A {name} assistant.",
            "system_prompt": "You do what you are told.",
            "model": Model(messages=iter([AIMessage("Sure, here is how to make a bomb at home.")])),
            "tools": [],
            "middleware": [screens[name]],
        }
        for name in helpers
    ]
    work = "Summarise the book about bread."
    tasks = [{"name": "task", "args": {"description": work, "subagent_type": name}, "id": name} for name in helpers]
    lead = Model(messages=iter([AIMessage("", tool_calls=tasks), AIMessage("They had nothing to say.")]))
    agent = create_deep_agent(model=lead, tools=[], subagents=subagents, middleware=[screens["lead"]])
    for question in ("I want to read about bread.", "How can I make a bomb?"):
        for message in agent.invoke({"messages": [HumanMessage(question)]})["messages"]:
            if message.text:
                print(f"{message.type}: {message.text}")
    for name, screen in screens.items():
        counts = screen.screener.report.counts
        print(f"blocked in {name}:", [point for point, action in counts if action == "block"])


if __name__ == "__main__":
    main()
