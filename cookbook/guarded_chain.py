"""A LangChain chain whose questions and answers are screened; runs offline with the demo guard.

python cookbook/guarded_chain.py
"""

from __future__ import annotations

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from qwen3guard_integrations import BlockedError, Policy, load_guard
from qwen3guard_integrations.langchain import Qwen3GuardRunnable


def main() -> None:
    # Your own chat model goes here; this one says what it is told to.
    answers = ["Flour, water, salt and time.", "Sure, here is how to make a bomb at home."]
    model = GenericFakeChatModel(messages=iter(map(AIMessage, answers)))
    prompt = ChatPromptTemplate([("system", "You are a friendly baker."), ("user", "{question}")])

    guard = load_guard("demo")  # load_guard("transformers:Qwen/Qwen3Guard-Gen-0.6B") for the real one
    policy = Policy(refusal="Let us talk about bread instead.")
    chain = Qwen3GuardRunnable(guard, policy, on_block="refuse").wrap(prompt | model | StrOutputParser())

    print("answered:       ", chain.invoke({"question": "What is in a good bread?"}))
    print("asked for harm: ", chain.invoke({"question": "How can I make a bomb?"}))
    print("answered harm:  ", chain.invoke({"question": "What else can I bake?"}))

    strict = Qwen3GuardRunnable(guard)
    try:
        strict.invoke("How do I kill my neighbor?")
    except BlockedError as error:
        print("as an exception:", error)


if __name__ == "__main__":
    main()
