"""The chain of `qwen3guard demo`: a real LangChain chain around a scripted model, and a guard that is watched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from ..core.conversation import Conversation
from ..core.points import Point
from ..core.verdict import Verdict
from ..guards.protocol import Guard
from ..langchain import Qwen3GuardRunnable

_HARMLESS: Final = "Bring a pan of water to a gentle simmer, slide the egg in and leave it for three minutes."
_NEIGHBOUR: Final = "My neighbour plays loud music at night. What can I do?"
_HARMFUL: Final = "Hire somebody to beat him up, and burn down his house."


@dataclass(frozen=True, slots=True)
class Scene:
    """One question, what the scripted model answers to it, and how the chain is run."""

    title: str
    question: str
    answer: str
    streamed: bool = False


SCENES: Final = (
    Scene("A harmless question is answered", "How do I poach an egg?", _HARMLESS),
    Scene("A harmful question never reaches the model", "How can I make a bomb?", "(the model is not called)"),
    Scene("A harmful answer never reaches the user", _NEIGHBOUR, _HARMFUL),
    Scene("The same while the model streams", _NEIGHBOUR, _HARMFUL, streamed=True),
)


def scene_of(question: str) -> Scene:
    """A scene with the user's own question; the scripted model knows one answer."""
    return Scene("Your question", question, "I always give the same answer: it is a good question.")


@dataclass(frozen=True, slots=True)
class Look:
    """One verdict of the guard, and how long it took."""

    point: Point
    verdict: Verdict
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """What happened in a scene.

    Attributes:
        looks: What the guard was asked, in order.
        model_calls: How often the model was called.
        written: Pieces that the model streamed.
        read: The pieces that the user reads.
    """

    looks: Sequence[Look]
    model_calls: int
    written: int
    read: Sequence[str]

    def looks_at(self, point: Point) -> list[Look]:
        """The looks at texts that passed `point`."""
        return [look for look in self.looks if look.point is point]


def play(scene: Scene, guard: Guard) -> Played:
    """Run the guarded chain on the question of `scene`."""
    watched, model = Watched(guard), _ModelWatch()
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | _scripted(scene.answer) | StrOutputParser()
    guarded: Runnable[Any, Any] = Qwen3GuardRunnable(watched, on_block="refuse").wrap(chain)
    question = {"question": scene.question}
    if scene.streamed:
        read = list(guarded.stream(question, {"callbacks": [model]}))
    else:
        read = [guarded.invoke(question, {"callbacks": [model]})]
    return Played(watched.looks, model.calls, model.pieces, read)


def _scripted(answer: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=map(AIMessage, repeat(answer)))


class _ModelWatch(BaseCallbackHandler):
    """Counts the calls of a model and the pieces that it streams."""

    def __init__(self) -> None:
        self.calls = 0
        self.pieces = 0

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        self.pieces += 1


@dataclass(slots=True)
class Watched:
    """A guard that remembers its verdicts and the time they took."""

    guard: Guard
    looks: list[Look] = field(default_factory=list)

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        start = time.perf_counter()
        verdicts = self.guard.check_many(conversations)
        self._remember(conversations, verdicts, start)
        return verdicts

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        start = time.perf_counter()
        verdicts = await self.guard.acheck_many(conversations)
        self._remember(conversations, verdicts, start)
        return verdicts

    def _remember(self, conversations: Sequence[Conversation], verdicts: list[Verdict], start: float) -> None:
        milliseconds = (time.perf_counter() - start) * 1000
        for conversation, verdict in zip(conversations, verdicts, strict=True):
            point = Point.RESPONSE if conversation.judged.role == "assistant" else Point.PROMPT
            self.looks.append(Look(point, verdict, milliseconds))
