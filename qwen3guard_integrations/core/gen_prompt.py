"""How a conversation is put to Qwen3Guard-Gen: messages as the model's own chat template understands them.

The rules of that template, as its Jinja source states them:

* the role of the last message chooses what is judged: `user` the user's query, anything else the assistant's
  response;
* it prints user and assistant messages only. A tool or developer message is dropped in silence, and so is an
  assistant message that comes first: `[assistant]` alone is an empty conversation that still gets a verdict;
* a system message is printed as if the user had said it, and the next user message is glued to it;
* the text is not escaped: `<|im_end|>` in it would end the guard's own turn, and a line `ASSISTANT: ...` would
  look like another turn.

So here only `user` and `assistant` go out, the conversation always begins with `user`, what has to be judged
comes last, and every text is quoted by `quoted`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, TypedDict

from .conversation import Conversation, Turn

FORCED_PREFIX: Final = "Safety:"
"""How every reply begins: after it the next token is the severity. Without a trailing space, which would leave the
token path that the model was trained on."""


class GenMessage(TypedDict):
    """A message for the chat template of Qwen3Guard-Gen."""

    role: Literal["user", "assistant"]
    content: str


_CONTROL_TOKEN: Final = re.compile(r"<\|([^|<>]*)\|>")
# Written so that no part can match what its neighbour matches: a long run of spaces costs no more than its length.
_FRAME: Final = re.compile(r"<([\s/]*+(?:BEGIN|END)\s[A-Z\s]*+)>", re.IGNORECASE)


def turn_label(*speakers: str) -> re.Pattern[str]:
    """Matches the beginning of a line that begins like a turn of one of these speakers."""
    names = "|".join(speakers)
    return re.compile(rf"^(?=(?:[^\S\n]|[*_#`])*+(?:{names})(?:[^\S\n]|[*_#`])*+[:：])", re.IGNORECASE | re.MULTILINE)


_TURN_LABEL: Final = turn_label("USER", "ASSISTANT", "SYSTEM")


def sendable(text: str) -> str:
    """`text` as it can be sent: surrogate pairs become the character that they stand for, as they do in JSON, and half
    a pair, which cannot be sent at all, the replacement character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def quoted(text: str, label: re.Pattern[str] = _TURN_LABEL) -> str:
    """`text` as it can stand inside the guard's prompt without acting on it; every word of it is kept.

    Control tokens (`<|im_end|>`) and the frame of the conversation (`<END CONVERSATION>`) are spaced out, and a
    line that begins like a turn (`ASSISTANT: ...`, by `label`) becomes a quotation (`> ASSISTANT: ...`).
    """
    text = _CONTROL_TOKEN.sub(r"< |\1| >", sendable(text))
    text = _FRAME.sub(lambda match: f"< {match[1].strip()} >", text)
    # The template and Unicode know more line ends than the regular expression's "^".
    text = re.sub("[\r\v\f\x1c-\x1e\x85\u2028\u2029]+\n?", "\n", text)
    return label.sub("> ", text)


def gen_messages(conversation: Conversation) -> list[GenMessage]:
    """The messages that make the chat template of Qwen3Guard-Gen judge the last turn of `conversation`.

    A system turn is left out unless it is itself judged: the template would pass it off as the user's words.
    Tool turns go out as user messages: what they say is judged, and counts as context, as something that came
    in. The reasoning of the judged turn is put before its answer between `<think>` tags, as the model was
    trained; earlier reasoning is left out, as Qwen3's own template does.
    """
    messages = [_message(turn, reasoning=False) for turn in conversation.context if turn.role != "system"]
    messages.append(_message(conversation.judged, reasoning=True))
    if messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": ""})
    return messages


def _message(turn: Turn, *, reasoning: bool) -> GenMessage:
    if turn.role != "assistant":
        return {"role": "user", "content": quoted(turn.content)}
    content = quoted(turn.content)
    if reasoning and turn.reasoning.strip():
        content = f"<think>\n{quoted(turn.reasoning)}\n</think>\n\n{content}"
    return {"role": "assistant", "content": content}


def judges_response(messages: Iterable[GenMessage]) -> bool:
    """Whether the template will judge a response (and the reply has a `Refusal:` line), not a prompt."""
    *_, last = messages
    return last["role"] != "user"
