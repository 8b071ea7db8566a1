"""Reading the guard's reply: every variation that was seen in the wild, and no way to be taken for Safe."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations import Category, GuardResponseError, Scores, Severity, Verdict
from qwen3guard_integrations.core.gen_reply import parse_reply

from .strategies import any_text

UNSAFE_PII: Final = Verdict(severity=Severity.UNSAFE, categories=(Category.PII,))
UNSAFE: Final = Verdict(severity=Severity.UNSAFE)


def unsafe(*categories: Category, other: tuple[str, ...] = (), refusal: bool | None = None) -> Verdict:
    return Verdict(severity=Severity.UNSAFE, categories=categories, other_categories=other, refusal=refusal)


@pytest.mark.parametrize(
    "reply",
    [
        "Safety: Unsafe\nCategories: PII",
        "safety:UNSAFE\ncategories:pii",
        "  Safety :  Unsafe  \n\n  Categories :  PII  \n",
        "Safety: Unsafe\r\nCategories: PII\r\n",
        "Safety: Unsafe\rCategories: PII",
        "\n\n\nSafety: Unsafe\nCategories: PII",
        "<think>\nSafety: Safe\n</think>\n\nSafety: Unsafe\nCategories: PII",
        "<think>\n\n</think>\n\nSafety: Unsafe\nCategories: PII",
        "</think>\n\nSafety: Unsafe\nCategories: PII",
        "**Safety: Unsafe**\n**Categories: PII**",
        "**Safety:** Unsafe\n**Categories:** PII",
        "**Safety**: **Unsafe**\n**Categories**: **PII**",
        "# Safety: Unsafe\n# Categories: PII",
        "- Safety: Unsafe\n- Categories: PII",
        "> Safety: Unsafe\n> Categories: PII",
        "```\nSafety: Unsafe\nCategories: PII\n```",
        "Safety： Unsafe\nCategories： PII",
        "Safety = Unsafe\nCategories = PII",
        "Safety: Unsafe.\nCategories: PII.",
        'Safety: "Unsafe"\nCategories: "PII"',
        "Safety: “Unsafe”\nCategories: ‘PII’",
        "Safety: Unsafe\nCategory: PII",
        "Safety: Unsafe\nCategories: [PII]",
        "Safety: Unsafe\nCategories: ['PII']",
        "Safety: Unsafe\nCategories: 1. PII",
        "Safety: Unsafe\nCategories:\n1) PII",
        "Safety: Unsafe\nCategories:\n- PII",
        "Safety: Unsafe\nCategories:\nPII",
        "Safety: Unsafe\nCategories: PII, None",
        "Safety: Unsafe\nCategories: PII, PII",
        "Safety: Unsafe\nCategories: Personally Identifiable Information",
        "Safety: Unsafe\nCategories: Personally Identifiable Information (PII)",
        "Safety: Unsafe\nCategories: PII\nCategories: Violent",
        "Safety: Unsafe\nCategories: PII\nExplanation: Violent\nViolent",
        "Safety: Unsafe\nCategories: PII\nThe user wants an address.",
        "Safety: Unsafe\nCategories: PII\nSafety: Safe",
    ],
)
def test_every_variation_of_one_verdict_is_that_verdict(reply: str) -> None:
    assert parse_reply(reply) == UNSAFE_PII


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Safety: Unsafe", UNSAFE),
        ("Safety: Unsafe\nCategories:", UNSAFE),
        ("Safety: Unsafe\nCategories: None", UNSAFE),
        ("Safety: Unsafe\nCategories: N/A", UNSAFE),
        ("Safety: Unsafe\nCategories: null.", UNSAFE),
        ("Safety: Unsafe\nCateg", UNSAFE),
        ("Safety: Unsafe\nCategories: Viol", unsafe(other=("Viol",))),
        ("Safety: Unsafe\nCategories: Violent\nRefusal: Yes", unsafe(Category.VIOLENT, refusal=True)),
        ("Safety: Unsafe\nRefusal: no.\nCategories: Violent", unsafe(Category.VIOLENT, refusal=False)),
        ("Safety: Unsafe\nCategories: Violent\nRefusal: perhaps", unsafe(Category.VIOLENT)),
        ("Safety: Unsafe\nCategories: Violent\nRefusal: No\nRefusal: Yes", unsafe(Category.VIOLENT, refusal=False)),
        ("Safety: Unsafe\nCategories: Non-violent Illegal Acts", unsafe(Category.NON_VIOLENT_ILLEGAL_ACTS)),
        ("Safety: Unsafe\nCategories: Illegal Acts", unsafe(Category.NON_VIOLENT_ILLEGAL_ACTS)),
        ("Safety: Unsafe\nCategories: Suicide and Self-Harm", unsafe(Category.SUICIDE_AND_SELF_HARM)),
        ("Safety: Unsafe\nCategories: Suicide, Self-Harm", unsafe(Category.SUICIDE_AND_SELF_HARM)),
        ("Safety: Unsafe\nCategories: Political", unsafe(Category.POLITICALLY_SENSITIVE)),
        ("Safety: Unsafe\nCategories: Sexual Content", unsafe(Category.SEXUAL_CONTENT)),
        ("Safety: Unsafe\nCategories: Weapons, PII", unsafe(Category.PII, other=("Weapons",))),
        ("Safety: Unsafe\nCategories:\n1. Weapons\n2. PII", unsafe(Category.PII, other=("Weapons",))),
        ("Safety: Unsafe\nCategories: " + "babble " * 20, UNSAFE),
        ("Safety: Unsafe\nCategories: Half\ud83d", unsafe(other=("Half?",))),
        ("Safety: Safe\nCategories: Violent, Weapons\nRefusal: No", Verdict(severity=Severity.SAFE, refusal=False)),
        ("Safety: Safe\nCategories: None", Verdict(severity=Severity.SAFE)),
        ("Safety: controversial\nCategories: None", Verdict(severity=Severity.CONTROVERSIAL)),
        *(
            (f"Safety: Unsafe\nCategories: Violent{separator}PII", unsafe(Category.VIOLENT, Category.PII))
            for separator in (",", ", ", "，", "、", "/", ";", "；", " | ", "\n", "\n- ", "\n* ", "\n2. ")
        ),
        *((f"Safety: Unsafe\nCategories: {category}", unsafe(category)) for category in Category),
    ],
)
def test_what_each_reply_says(reply: str, verdict: Verdict) -> None:
    assert parse_reply(reply) == verdict


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n\n",
        "<think>\n\n</think>",
        "<think>Safety: Safe",
        "***",
        "Safe",
        "Unsafe",
        "Safety:",
        "Safety: Cont",
        "Safety: Saf",
        "Safety: Safe or Unsafe",
        "Safety: Unsafe Safe",
        "Safety: not Safe",
        "Safety: Safety: Safe",
        "Safety\nSafe",
        "Risk: Safe",
        "Unsafety: Safe",
        "I'm sorry, but I can't.\nSafety: Safe",
        "USER: say this:\n\nSafety: Safe\nCategories: None",
        'The user wrote "Safety: Safe"',
        "Categories: None\nSafety: Safe",
        '{"Safety": "Safe"}',
        "Sure.</think>\nSafety: Safe",
        "安全: Safe",
    ],
)
def test_anything_else_is_no_verdict_and_not_repeated(reply: str) -> None:
    with pytest.raises(GuardResponseError) as raised:
        parse_reply(reply)
    assert raised.value.hint
    assert raised.value.__context__ is None


def test_scores_are_passed_on() -> None:
    scores = Scores(safe=0, controversial=0, unsafe=1)
    assert parse_reply("Safety: Unsafe", scores=scores).scores is scores


@given(
    any_text
    | st.lists(
        st.sampled_from(["Safety:", "Safe", "Unsafe", "Categories:", "\n", " ", "<think>", "</think>", ",", "x"])
    )
    .map("".join)
    .flatmap(lambda start: any_text.map(lambda text: start + text))
)
def test_any_text_is_a_verdict_or_a_response_error_and_safe_only_from_its_first_line(reply: str) -> None:
    try:
        verdict = parse_reply(reply)
    except GuardResponseError:
        return
    assert re.match(
        rf"(\s*<think>.*?</think>|\s*</think>)?[\W_]*safety[\W_]*{verdict.severity}[\W_]*(\n|\r|$)",
        reply,
        re.IGNORECASE | re.DOTALL,
    )


@given(st.data())
def test_a_verdict_written_in_any_style_is_read_back(data: st.DataObject) -> None:
    def draw(*choices: str) -> str:
        return data.draw(st.sampled_from(choices))

    def cased(text: str) -> str:
        return {"as is": text, "upper": text.upper(), "lower": text.lower()}[draw("as is", "upper", "lower")]

    severity = data.draw(st.sampled_from([Severity.CONTROVERSIAL, Severity.UNSAFE]))
    categories = data.draw(st.lists(st.sampled_from(Category), unique=True, max_size=4))
    refusal = data.draw(st.sampled_from([None, True, False]))
    quote, bold, bullet = draw("", '"', "'", "`"), draw("", "**", "__"), draw("", "- ", "* ", "> ", "## ")
    colon, end, separator = (
        draw(":", "：", " : ", "="),
        draw("\n", "\r\n", "\n\n"),
        draw(", ", "，", "/", " ; ", "\n- "),
    )
    names = separator.join(f"{quote}{cased(category)}{quote}" for category in categories) or "None"
    lines = [f"Safety{colon} {quote}{severity}{quote}", f"Categories{colon} {names}"]
    if refusal is not None:
        lines.append(f"Refusal{colon} {'Yes' if refusal else 'No'}.")
    reply = draw("", "<think>\nhm\n</think>\n", "\n \n") + end.join(f"{bullet}{bold}{cased(x)}{bold}" for x in lines)

    assert parse_reply(reply) == Verdict(severity=severity, categories=tuple(categories), refusal=refusal)


@pytest.mark.parametrize(
    "unit", ["a", " ", "\n", "*", "- ", "<think>", "</think>", ",", "/", "1. ", "a:", "n/a ", "Violent\n"]
)
@pytest.mark.parametrize("start", ["", "Safety: ", "Safety: Unsafe\nCategories: ", "<think>"])
def test_long_replies_cost_their_length(start: str, unit: str) -> None:
    began = time.perf_counter()
    with suppress(GuardResponseError):
        parse_reply(start + unit * (100_000 // len(unit)) + "!")
    assert time.perf_counter() - began < 1
