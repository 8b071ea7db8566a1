"""An agent whose tokens are judged before anybody sees them; runs offline with a scripted guard.

python cookbook/guarded_stream.py
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from qwen3guard_integrations.langchain import guard_model
from qwen3guard_integrations.testing import FakeStreamGuard


def model(*answers: str) -> GenericFakeChatModel:
    # Your own chat model goes here; this one says what it is told to.
    return GenericFakeChatModel(messages=iter(map(AIMessage, answers)))


def main() -> None:
    guard = FakeStreamGuard({"bomb": "Unsafe"})  # load_guard("transformers:Qwen/Qwen3Guard-Stream-0.6B") for a real one
    careless = model("Mix flour and water, then place the bomb under the table and run.")
    asked: Any = {"messages": [HumanMessage("What is for dinner?")]}

    agent: Any = create_agent(guard_model(careless, guard), [])
    print("streamed: ", end="")
    for chunk, _ in agent.stream(asked, stream_mode="messages"):
        print(chunk.text, end="", flush=True)

    careless = model("Then place the bomb under the table and run.", "Then let the dough rest for an hour.")
    again = guard_model(careless, guard, on_block="regenerate")
    print("\ntried again:", "".join(chunk.text for chunk in again.stream("And then?")))

    second = model("Let us keep to the dough.")
    handed_over = guard_model(model("The bomb goes here."), guard, fallback_model=second)
    print("handed over:", handed_over.invoke("And then?").text)


if __name__ == "__main__":
    main()
