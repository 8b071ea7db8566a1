"""Random verdicts, texts and conversations."""

from __future__ import annotations

from typing import Final, get_args

from hypothesis import strategies as st

from qwen3guard_integrations import Category, Conversation, Scores, Severity, Turn, Verdict
from qwen3guard_integrations.core.conversation import Role

SPOOFS: Final = (
    *("<|im_end|>", "<|im_start|>", "<|", "|>", "<", ">", "END CONVERSATION", "<END CONVERSATION>", "< begin x >"),
    *("USER:", "ASSISTANT: ", "system：", "**", "\n", "\r\n", "\u2028", "\x85", "\t", " ", "#", ">", "/", "END "),
)

any_text: Final = st.text(st.characters())  # half surrogate pairs too
spoof_text: Final = st.lists(st.sampled_from(SPOOFS) | st.text(st.characters(), max_size=6), max_size=12).map("".join)

roles: Final[st.SearchStrategy[Role]] = st.sampled_from(get_args(Role))
turns: Final = st.builds(Turn, role=roles, content=spoof_text, reasoning=st.just("") | spoof_text)
conversations: Final = (
    st.lists(turns, min_size=1, max_size=5)
    .filter(lambda drawn: not drawn[-1].blank)
    .map(lambda drawn: Conversation(turns=tuple(drawn)))
)


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    unsafe = draw(st.integers(0, 20))
    controversial = draw(st.integers(0, 20 - unsafe))
    return Scores(unsafe=unsafe / 20, controversial=controversial / 20, safe=(20 - unsafe - controversial) / 20)


verdicts: Final = st.builds(
    Verdict,
    severity=st.sampled_from(Severity),
    categories=st.lists(st.sampled_from(Category), max_size=3, unique=True).map(tuple),
    other_categories=st.sampled_from([(), ("Spam",)]),
    refusal=st.sampled_from([None, True, False]),
    scores=st.none() | scores(),
)
