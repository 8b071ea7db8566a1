"""A LangGraph graph without an agent: a node screens what is asked, a guarded model answers; offline, demo guard.

python cookbook/guarded_graph.py
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.langchain import guard_model, guard_node


def main() -> None:
    guard = load_guard("demo")  # or the name of the real one, see docs/guards.md
    model = guard_model(FakeListChatModel(responses=["Flour, water, salt and time."]), guard)

    def answer(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("guard", guard_node(guard, then="answer"))
    graph.add_node("answer", answer)
    graph.add_edge(START, "guard")  # the guard's own edges, to "answer" and to the end, are there already
    graph.add_edge("answer", END)
    app = graph.compile(checkpointer=InMemorySaver())

    thread: Any = {"configurable": {"thread_id": "1"}}
    for question in ("How do I hack into my neighbour's computer?", "What is in bread?"):
        asked: Any = {"messages": [("user", question)]}
        steps: Any = app.stream(asked, thread, stream_mode=["custom", "values"])
        for mode, item in steps:
            if mode == "custom":
                print(f"verdict: {item['action']} at {item['point']} ({item['severity']})")
            else:
                last = item["messages"][-1]
        print("answer: ", last.text)
    print("stored: ", [message.text for message in app.get_state(thread).values["messages"]])


if __name__ == "__main__":
    main()
