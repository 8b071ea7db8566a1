"""The tool calls of one answer: what of them is judged, and what becomes of those that may not pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock

from ..core.conversation import Turn
from ..core.decision import Action, Decision
from ..core.points import Point
from ..core.policy import Policy
from ..core.words import is_name, tool_call_text
from ..reporting import entry
from .messages import call_of, tool_calls_of

WITHHELD: Final = "qwen3guard_withheld"
"""The only argument of a call that lost its own because they may not pass: a guarded tool answers it and does not
run."""

Call = Mapping[str, Any]


class Calls:
    """The tool calls of one answer.

    The responses of a stream have all calls so far, or only the next, and of a call as much as was written. Judged is
    every call as far as it came; what was written of it earlier is covered by that, and shares its fate.

    Args:
        policy: What stands in place of an answer of which nothing else is left.
        withholds: A call that may not pass loses its arguments and stays, so that an agent can go on.
    """

    def __init__(self, policy: Policy, *, withholds: bool) -> None:
        self._policy = policy
        self._withholds = withholds
        self._written: list[Call] = []
        self._asked: list[Call] = []
        self._passed: set[str] = set()
        self._failed: list[tuple[Call, Decision]] = []

    def add(self, calls: Iterable[Call]) -> None:
        """Take the calls of a response."""
        before = self._written
        new = [call for call in calls if not any(_covers(known, call) for known in before)]
        self._written = [known for known in before if not any(_covers(call, known) for call in new)] + new

    def turns(self) -> list[Turn]:
        """What is to be judged: the calls so far."""
        self._asked = list(self._written)
        return [Turn(role="assistant", content=tool_call_text(call)) for call in self._asked]

    def decided(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Take the decisions about `turns`; those that do not stop the answer are carried out in `after`, and pass."""
        self._passed, self._failed = set(), []
        left: list[Decision] = []
        for call, decision in zip(self._asked, decisions, strict=True):
            if decision.passes:
                self._passed.add(tool_call_text(call))
            elif self._withholds or not decision.stops:
                self._failed.append((call, decision))
                decision = Decision(point=Point.TOOL_CALL, action=Action.ALLOW)
            left.append(decision)
        return left

    def after(self, message: ChatMessage, extra: Mapping[str, Any]) -> ChatMessage:
        """`message`, with calls that may not pass left out, or without their arguments.

        Args:
            message: Of the answer, or of a part of it.
            extra: The additional keywords of its response, which may have calls too.
        """
        if not self._failed:
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

    def _failing(self, call: Call) -> Decision | None:
        if tool_call_text(call) in self._passed:
            return None
        return next((decision for failed, decision in self._failed if _covers(failed, call)), None)


def _covers(call: Call, earlier: Call) -> bool:
    """Whether `earlier` is the same call, or as much of it as was written before."""
    same_name = call["name"] == earlier["name"]
    if same_name and call["args"] == earlier["args"] and _words(call["id"]) == _words(earlier["id"]):
        return True
    if call["id"] and earlier["id"] and call["id"] != earlier["id"]:
        return False
    arguments, begun = call["args"], earlier["args"]
    if isinstance(arguments, str) and isinstance(begun, str):  # not parsed each time, which would be quadratic
        return same_name and arguments.startswith(begun)
    return tool_call_text(call).startswith(tool_call_text(earlier).rstrip('"]})'))  # what closes incomplete arguments


def _words(number: str | None) -> str | None:
    """What the id of a call could say."""
    return None if is_name(number) else number


def _withheld(block: ToolCallBlock, decision: Decision) -> ToolCallBlock:
    """The call without the model's words: arguments, and a name or an id that could be some."""
    return ToolCallBlock(
        tool_call_id=block.tool_call_id if is_name(block.tool_call_id) else None,
        tool_name=block.tool_name if is_name(block.tool_name) else "tool",
        tool_kwargs={WITHHELD: entry(decision)},
    )
