"""The tool calls of one answer: what of them is judged, and what becomes of those that may not pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock

from ..core.conversation import Turn
from ..core.decision import Decision
from ..core.policy import Policy
from ..core.words import is_name, parsed, tool_call_text
from ..reporting import entry
from .messages import call_of, tool_calls_of

WITHHELD: Final = "qwen3guard_withheld"
"""The only argument of a call that lost its own because they may not pass: a guarded tool answers it and does not
run."""


@dataclass(slots=True)
class Call:
    """A tool call, as far as it was written."""

    name: str
    arguments: Any
    number: str
    _text: str | None = None

    @classmethod
    def of(cls, call: Mapping[str, Any]) -> Call:
        """A call as `tool_calls_of` gives it."""
        return cls(call["name"] or "", call["args"], call["id"] or "")

    @property
    def text(self) -> str:
        """What is judged."""
        if self._text is None:
            self._text = tool_call_text({"name": self.name, "args": self.arguments, "id": self.number})
        return self._text

    @property
    def size(self) -> int:
        """How many characters there are. Text is not parsed for it, which would be quadratic in a stream."""
        return len(self.arguments) if isinstance(self.arguments, str) else len(self.text)

    def repeats(self, other: Call) -> bool:
        """Whether both say the same."""
        if (self.name, self.arguments) != (other.name, other.arguments):
            return False
        return self.number == other.number or (is_name(self.number or "-") and is_name(other.number or "-"))

    def continues(self, begun: Call) -> bool:
        """Whether `begun` is as much of this call as was written before: the numbers say so, or it has no end."""
        if self._has_number and begun._has_number:
            if self.number != begun.number:
                return False
        elif not (isinstance(begun.arguments, str) and isinstance(parsed(begun.arguments), str)):
            return False
        if isinstance(self.arguments, str) and isinstance(begun.arguments, str):
            return self.name == begun.name and self.arguments.startswith(begun.arguments)
        return self.text.startswith(begun.text.rstrip('"]})'))  # what closes arguments that are not complete

    @property
    def _has_number(self) -> bool:
        return self.number not in ("", self.name)


class Calls:
    """The tool calls of one answer.

    The responses of a stream have all calls so far, or only the next, and of a call as much as was written. Judged is
    every call as far as it came; what was written of it earlier is covered by that, and shares its fate.

    Args:
        policy: What stands in place of an answer of which nothing else is left.
        withholds: A call that may not pass loses its arguments and stays, so that an agent can go on.

    Attributes:
        failed: The calls that do not leave as they are, and why.
    """

    def __init__(self, policy: Policy, *, withholds: bool) -> None:
        self.failed: list[tuple[Call, Decision]] = []
        self._policy = policy
        self._withholds = withholds
        self._written: list[Call] = []
        self._asked: list[Call] = []
        self._passed: set[str] = set()

    @property
    def size(self) -> int:
        """How many characters there are so far."""
        return sum(call.size for call in self._written)

    def add(self, calls: Iterable[Mapping[str, Any]]) -> None:
        """Take the calls of a response. Each is one that is known, or goes on with one, or is another."""
        known, new = list(self._written), []
        for call in map(Call.of, calls):
            place = next((place for place, one in enumerate(known) if one.repeats(call)), None)
            if place is None:
                new.append(call)
            else:
                del known[place]
        for call in new:
            begun = next((one for one in known if call.continues(one)), None)
            if begun is not None:
                known = [one for one in known if one is not begun]
                self._written = [one for one in self._written if one is not begun]
            self._written.append(call)

    def turns(self) -> list[Turn]:
        """What is to be judged: the calls so far."""
        self._asked = list(self._written)
        return [Turn(role="assistant", content=call.text) for call in self._asked]

    def decided(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Take the decisions about `turns`; gives those that pass or stop the answer. `after` does the rest."""
        self._passed, self.failed = set(), []
        others: list[Decision] = []
        for call, decision in zip(self._asked, decisions, strict=True):
            if decision.passes:
                self._passed.add(call.text)
            elif self._withholds or not decision.stops:
                self.failed.append((call, decision))
                continue
            others.append(decision)
        return others

    def after(self, message: ChatMessage, extra: Mapping[str, Any]) -> ChatMessage:
        """`message`, with calls that may not pass left out, or without their arguments.

        Args:
            message: Of the answer, or of a part of it.
            extra: The additional keywords of its response, which may have calls too.
        """
        if not self.failed:
            return message
        failed = [decision for call in tool_calls_of(message, extra) if (decision := self._failing(call))]
        if not failed:
            return message
        blocks: list[Any] = []
        for block in message.blocks:
            if not isinstance(block, ToolCallBlock) or (decision := self._failing(call_of(block))) is None:
                blocks.append(block)
            elif self._withholds:
                blocks.append(_withheld(block, decision))
        if not any(isinstance(block, TextBlock | ToolCallBlock) for block in blocks):
            blocks.append(TextBlock(text=self._policy.redacted(failed[0])))
        # Copies of calls in the additional keywords go: the blocks say the same.
        return ChatMessage(role=message.role, blocks=blocks)

    def _failing(self, written: Mapping[str, Any]) -> Decision | None:
        call = Call.of(written)
        if call.text in self._passed:
            return None
        return next((decision for one, decision in self.failed if one.repeats(call) or one.continues(call)), None)


def _withheld(block: ToolCallBlock, decision: Decision) -> ToolCallBlock:
    """The call without the model's words: arguments, and a name or an id that could be some."""
    return ToolCallBlock(
        tool_call_id=block.tool_call_id if is_name(block.tool_call_id) else None,
        tool_name=block.tool_name if is_name(block.tool_name) else "tool",
        tool_kwargs={WITHHELD: entry(decision)},
    )
