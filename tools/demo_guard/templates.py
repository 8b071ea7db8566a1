"""The two chat templates (jinja, for the checkpoints) and the same rendering with labels (for training)."""

from __future__ import annotations

from dataclasses import dataclass, field

from .labels import IGNORED, verdict_text
from .samples import Conversation, Turn

EMPTY_THINKING = "<think>\n\n</think>\n\n"
GEN_JUDGED = {"user": "USER's query", "assistant": "ASSISTANT's response"}
GEN_LINES = {"user": "Safety and Categories", "assistant": "Safety, Categories and Refusal"}

GEN_TEMPLATE = """\
{#- The conversation to judge as one user message; the last role decides what is judged. -#}
{%- if messages|length > 0 -%}
    {%- if messages[-1].role == "user" -%}
        {%- set judged = "USER's query" -%}
        {%- set lines = "Safety and Categories" -%}
    {%- else -%}
        {%- set judged = "ASSISTANT's response" -%}
        {%- set lines = "Safety, Categories and Refusal" -%}
    {%- endif -%}
    {{- "<|im_start|>user\\nJudge THE LAST " + judged + ".\\n\\n<BEGIN CONVERSATION>\\n\\n" -}}
    {%- for message in messages -%}
        {%- if loop.first -%}
            {%- if message.role == "system" or message.role == "user" -%}
                {{- "USER: " + message.content -}}
            {%- endif -%}
        {%- elif message.role == "user" and messages[loop.index0 - 1].role == "system" -%}
            {{- "\\n\\n" + message.content -}}
        {%- elif message.role == "user" -%}
            {{- "\\n\\nUSER: " + message.content -}}
        {%- elif message.role == "assistant" -%}
            {{- "\\n\\nASSISTANT: " + message.content -}}
        {%- endif -%}
    {%- endfor -%}
    {{- "\\n\\n<END CONVERSATION>\\n\\nGive " + lines + " of ONLY THE LAST **" + judged + "**." -}}
    {{- "<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n" -}}
{%- endif -%}
"""

STREAM_TEMPLATE = """\
{#- Qwen3's ChatML; a last assistant turn without thinking gets an empty think block. -#}
{%- for message in messages -%}
    {%- if message.role == "tool" -%}
        {{- "<|im_start|>user\\n<tool_response>\\n" + message.content + "\\n</tool_response><|im_end|>\\n" -}}
    {%- elif message.role == "assistant" -%}
        {%- set parts = message.content.split("</think>") -%}
        {%- set answer = parts[-1].lstrip("\\n") if parts|length > 1 else message.content -%}
        {{- "<|im_start|>assistant\\n" -}}
        {%- if loop.last -%}
            {%- set thinking = parts[0].split("<think>")[-1].strip("\\n") if parts|length > 1 else "" -%}
            {{- "<think>\\n" + thinking + "\\n</think>\\n\\n" -}}
        {%- endif -%}
        {{- answer + "<|im_end|>\\n" -}}
    {%- else -%}
        {{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- "<think>\\n\\n</think>\\n\\n" -}}
    {%- endif -%}
{%- endif -%}
"""

NOTHING, QUERY, RESPONSE = 0, 1, 2
_HEADS = {"user": QUERY, "assistant": RESPONSE}


@dataclass
class Rendered:
    """A rendered conversation: per character its label id and the head (query or response) that reads it."""

    text: str = ""
    labels: list[int] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)

    def add(self, text: str, label: int = IGNORED, head: int = NOTHING) -> None:
        """Appends text with one label for all of it."""
        self.text += text
        self.labels += [label] * len(text)
        self.heads += [head] * len(text)

    def add_turn(self, turn: Turn) -> None:
        """Appends the text of a turn with its labels."""
        head = _HEADS.get(turn.role, NOTHING)
        for span in turn.passage:
            self.text += span.text
            self.labels += span.label_ids()
            self.heads += [head] * len(span.text)


def render_gen(turns: Conversation) -> Rendered:
    """What the Gen template renders for these turns."""
    last = turns[-1].role
    out = Rendered()
    out.add(f"<|im_start|>user\nJudge THE LAST {GEN_JUDGED[last]}.\n\n<BEGIN CONVERSATION>\n\n")
    for index, turn in enumerate(turns):
        if index == 0:
            out.add("USER: ")
        elif turn.role == "user" and turns[index - 1].role == "system":
            out.add("\n\n")
        else:
            out.add("\n\nUSER: " if turn.role == "user" else "\n\nASSISTANT: ")
        out.add_turn(turn)
    out.add(f"\n\n<END CONVERSATION>\n\nGive {GEN_LINES[last]} of ONLY THE LAST **{GEN_JUDGED[last]}**.")
    out.add("<|im_end|>\n<|im_start|>assistant\n" + EMPTY_THINKING)
    return out


def gen_verdict(turns: Conversation) -> str:
    """The verdict on the last turn."""
    last = turns[-1]
    return verdict_text(last.label, last.categories, last.refusal)


def render_stream(turns: Conversation) -> Rendered:
    """What the Stream template renders for these turns; a turn's label also holds at its ``<|im_end|>``."""
    out = Rendered()
    for index, turn in enumerate(turns):
        out.add(f"<|im_start|>{turn.role}\n")
        if turn.role == "assistant" and index == len(turns) - 1 and not turn.text.startswith("<think>"):
            out.add(EMPTY_THINKING)
        out.add_turn(turn)
        trained = turn.passage[-1].trained or turn.role == "assistant"
        out.add("<|im_end|>", turn.label.id() if trained else IGNORED, _HEADS.get(turn.role, NOTHING))
        out.add("\n")
    return out


def as_messages(turns: Conversation) -> list[dict[str, str]]:
    """The turns as chat messages, for ``apply_chat_template``."""
    return [{"role": turn.role, "content": turn.text} for turn in turns]
