"""A person decides about tool calls and answers that the guard does not like; runs offline with the demo guard.

python cookbook/human_review.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware


@tool
def search(query: str) -> str:
    """Search the archive."""
    return "Three novels and a museum."


class Model(GenericFakeChatModel):
    """Your chat model; this one says what it is told to."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self


def main() -> None:
    reviewing = Qwen3GuardMiddleware(load_guard("demo"), {"points": {"tool_call": "review"}})
    asking = AIMessage("", tool_calls=[{"name": "search", "args": {"query": "how to make a bomb"}, "id": "1"}])
    decisions: list[dict[str, Any]] = [
        {"type": "approve"},
        {"type": "edit", "edited_action": {"name": "search", "args": {"query": "novels about spies"}}},
        {"type": "reject", "message": "Not here. Search for something else."},
    ]
    for thread, decision in enumerate(decisions):
        agent = create_agent(
            Model(messages=iter([asking, AIMessage("Done.")])),
            [search],
            middleware=[reviewing],
            checkpointer=InMemorySaver(),  # a review can take days: use a lasting one
        )
        config: RunnableConfig = {"configurable": {"thread_id": str(thread)}}
        asked = agent.invoke({"messages": [HumanMessage("Find me something to read.")]}, config)
        [pending] = asked["__interrupt__"]
        request = pending.value["action_requests"][0]
        print("to review:", request["name"], request["args"], "because:", request["description"])
        messages = agent.invoke(Command(resume={"decisions": [decision]}), config)["messages"]
        print(f"{decision['type']}:", messages[-2].text, messages[-1].text)
    review_answer()


def review_answer() -> None:
    """An answer waits: the refusal stands in its place until a person has let it pass."""
    agent = create_agent(
        Model(messages=iter([AIMessage("They build a bomb and blow up the bank.")])),
        [search],
        middleware=[Qwen3GuardMiddleware(load_guard("demo"), {"points": {"response": "review"}})],
        checkpointer=InMemorySaver(),
    )
    config: RunnableConfig = {"configurable": {"thread_id": "answer"}}
    asked = agent.invoke({"messages": [HumanMessage("What happens in the novel?")]}, config)
    print("meanwhile:", asked["messages"][-1].text)
    result = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    print("approved:", result["messages"][-1].text)


if __name__ == "__main__":
    main()
