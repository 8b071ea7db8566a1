"""Screening for a chain that exists already, through its config; runs offline with the demo guard.

python cookbook/callback_handler.py
"""

from __future__ import annotations

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from qwen3guard_integrations import BlockedError, load_guard
from qwen3guard_integrations.langchain import Qwen3GuardCallbackHandler


def baker(*answers: str) -> Runnable[dict[str, str], str]:
    """Your own chain, which knows nothing of the guard; this one says what it is told to."""
    model = GenericFakeChatModel(messages=iter(map(AIMessage, answers)))
    return (
        ChatPromptTemplate([("system", "You are a friendly baker."), ("user", "{question}")])
        | model
        | StrOutputParser()
    )


def main() -> None:
    guard = load_guard("demo")  # load_guard("transformers:Qwen/Qwen3Guard-Gen-0.6B") for the real one
    harm = "Sure, here is how to make a bomb at home."

    # First only watch: what would have been stopped?
    watching = Qwen3GuardCallbackHandler(guard, mode="observe")
    chain = baker("Flour, water, salt and time.", harm)
    for question in ("What is in a good bread?", "What else can I bake?"):
        print("answered:", chain.invoke({"question": question}, config={"callbacks": [watching]}))
    print("found:   ", [decision.summary for _, decision in watching.decisions if not decision.passes])

    # Then stop. The chain stays what it was.
    stopping = Qwen3GuardCallbackHandler(guard)
    for question in ("How can I make a bomb?", "What else can I bake?"):
        try:
            print("answered:", baker(harm).invoke({"question": question}, config={"callbacks": [stopping]}))
        except BlockedError as error:
            print("stopped: ", error)


if __name__ == "__main__":
    main()
