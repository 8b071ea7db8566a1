"""A deep agent with a subagent, both screened; runs offline with the demo guard. Needs `pip install deepagents`.

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
    guard = load_guard("demo")
    careless = Model(messages=iter([AIMessage("Sure, here is how to make a bomb at home.")]))
    task = {"description": "Write about bread.", "subagent_type": "writer"}
    lead = Model(
        messages=iter(
            [
                AIMessage("", tool_calls=[{"name": "task", "args": task, "id": "1"}]),
                AIMessage("The writer had nothing to say."),
            ]
        )
    )
    writer = {
        "name": "writer",
        "description": "Writes texts.",
        "system_prompt": "You write texts.",
        "model": careless,
        "tools": [],
        "middleware": [Qwen3GuardMiddleware(guard)],  # a subagent has a middleware list of its own
    }
    agent = create_deep_agent(
        model=lead, tools=[], subagents=[writer], middleware=[Qwen3GuardMiddleware(guard)], system_prompt="You lead."
    )
    messages = agent.invoke({"messages": [HumanMessage("I want to read about bread.")]})["messages"]
    for message in messages:
        if message.text:
            print(f"{message.type}: {message.text}")


if __name__ == "__main__":
    main()
