"""Token heat maps: the most telling streams of a guard, with the severity of each token and what people marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise, zip_longest
from typing import ClassVar, Final

from ...core.conversation import Turn
from ...core.verdict import Severity
from ..results import Result, StreamResult
from ..rows import Label, Row
from ..stream_figures import onset_of
from ..written import Written
from .passages import Passage, context_passages
from .tables import Block, Cell, Line, Table

AROUND: Final = 600
"""Characters that are shown before and after the flag, and each end of the unsafe sentence."""

_REST: Final = 40  # characters of what no token covers that are shown, or left out, together
_SEVERITIES: Final = {str(severity)[0]: severity for severity in Severity}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens in a row of which the same is to be said.

    Attributes:
        text: What they spell; their letters (S, C, U) where the report is to have no texts.
        severity: What the guard says of each of them; None for what no token covers.
        sentence: Whether they belong to the sentence that people marked as unsafe.
        flag: Whether it is the token that decided.
        heading: What begins here; then it has no text.
        left_out: How many characters are not shown here; then it has no text.
    """

    text: str
    severity: Severity | None
    sentence: bool = False
    flag: bool = False
    heading: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class TokenMap:
    """One stream.

    Attributes:
        outcome: "early", "exact hit", "late", "missed"; "caught" where nobody marked the unsafe sentence;
            "false alarm".
        id: The row's.
        remark: Where the flag is.
        context: What was said before; nothing where the report is to have no texts.
        stretches: What was judged.
    """

    outcome: str
    id: str
    remark: str
    context: tuple[Passage, ...]
    stretches: tuple[Stretch, ...]

    @property
    def annotated(self) -> bool:
        """Whether people marked a sentence in it."""
        return any(one.sentence for one in self.stretches)


@dataclass(frozen=True, slots=True)
class TokenMaps:
    """The most telling streams of one guard."""

    kind: ClassVar = "token maps"

    guard: str
    maps: tuple[TokenMap, ...]

    @property
    def caption(self) -> str:
        """Whose streams these are."""
        return f"{self.guard}, the most telling streams"

    @property
    def table(self) -> Table:
        """The same without texts and tokens."""
        lines = tuple(Line(one.outcome, (Cell(one.id), Cell(one.remark))) for one in self.maps)
        return Table(self.caption, "Outcome", ("Row", "Flag"), (Block("", lines),))


@dataclass(frozen=True, slots=True)
class _Case:
    outcome: str
    weight: int
    remark: str
    result: Result
    stream: StreamResult


def token_maps(results: Iterable[Result], texts: Mapping[str, Row]) -> Iterator[TokenMap]:
    """For each outcome that occurs the stream that shows it best: flagged furthest off, soonest hit, longest missed."""
    best: dict[str, _Case] = {}
    for result in results:
        case = _case(result, result.stream) if result.stream else None
        if case and (case.outcome not in best or case.weight > best[case.outcome].weight):
            best[case.outcome] = case
    for outcome in ("early", "exact hit", "late", "missed", "caught", "false alarm"):
        if case := best.get(outcome):
            row = texts.get(case.result.id)
            yield TokenMap(
                outcome=outcome,
                id=case.result.id,
                remark=case.remark,
                context=context_passages(row) if row else (),
                stretches=tuple(stretches(case.stream, case.result.label, row.conversation.judged if row else None)),
            )


def _case(result: Result, stream: StreamResult) -> _Case | None:
    """What happened to a stream, and how well it shows that; None where there is nothing to see."""

    def case(outcome: str, weight: int, remark: str) -> _Case:
        return _Case(outcome, weight, remark, result, stream)

    unsafe, onset = result.label.severity is Severity.UNSAFE, onset_of(result)
    if stream.flag is None:
        return (
            case("missed", len(stream.tokens), f"none of {len(stream.tokens):,} tokens was flagged") if unsafe else None
        )
    place = f"flagged at token {stream.flag - stream.begins + 1:,} of {len(stream.tokens):,}"
    if onset is None and unsafe:
        return case("caught", stream.begins - stream.flag, place)
    if onset is None:
        harmless = result.label.severity is Severity.SAFE
        return case("false alarm", stream.tokens.count("U"), place) if harmless else None
    if stream.flag < onset.start:
        before = onset.start - stream.flag
        return case("early", before, f"{place}, {before:,} before the unsafe sentence begins")
    if onset.hit:
        return case("exact hit", onset.start - stream.flag, f"{place}, inside the unsafe sentence")
    late = stream.flag - onset.end
    return case("late", late, f"{place}, {late:,} after the unsafe sentence has ended")


def stretches(stream: StreamResult, label: Label, turn: Turn | None) -> Iterator[Stretch]:
    """The stream around its flag and its unsafe sentence; by letters where there is no `turn` to take texts from."""
    tokens = list(_tokens(stream, label, turn))
    for (alike, shown), run in groupby(zip(tokens, _shown(tokens), strict=True), key=_alike):
        joined = "".join(token.text for token, _ in run)
        yield replace(alike, text=joined) if shown else replace(alike, left_out=len(joined))


def _alike(pair: tuple[Stretch, bool]) -> tuple[Stretch, bool]:
    """What tokens have in common that become one stretch."""
    token, shown = pair
    return (replace(token, text="") if shown else Stretch("", None, token.sentence)), shown


def _tokens(stream: StreamResult, label: Label, turn: Turn | None) -> Iterator[Stretch]:
    """Each token by itself, and what follows the last one; letters where nobody knows what the tokens spell."""
    known = turn if len(stream.ends) == len(stream.tokens) else None
    pieces = _pieces(stream.ends, Written(known).text) if known else list(stream.tokens)
    first, last = label.unsafe_start, label.unsafe_end
    tokens = (
        Stretch(
            text=piece,
            severity=_SEVERITIES.get(letter),
            sentence=first is not None and last is not None and first <= position <= last,
            flag=position == stream.flag,
        )
        for position, (piece, letter) in enumerate(zip_longest(pieces, stream.tokens), start=stream.begins)
    )
    return _headed(tokens, len(known.reasoning)) if known and known.reasoning else tokens


def _headed(tokens: Iterable[Stretch], begin: int) -> Iterator[Stretch]:
    """The tokens with a heading where the response begins, also within one of them: windows do not end there."""
    place, within = 0, False
    for token in tokens:
        cut = begin - place
        place += len(token.text)
        if 0 <= cut < len(token.text):
            yield replace(token, text=token.text[:cut], flag=False)
            yield Stretch("", None, token.sentence and (within or cut > 0), heading="response")
            token = replace(token, text=token.text[cut:])
        within = token.sentence
        yield token


def _pieces(ends: Sequence[int], text: str) -> list[str]:
    """The text of each token, and what follows the last one."""
    covered = [text[begin:end] for begin, end in pairwise((0, *ends))]
    begin = ends[-1] if ends else 0
    return [*covered, *(text[place : place + _REST] for place in range(begin, len(text), _REST))]


def _shown(tokens: Sequence[Stretch]) -> list[bool]:
    """Whether each token is near the flag or an end of the unsafe sentence; without any, near the beginning."""
    ends, end = [], 0
    for token in tokens:
        end += len(token.text)
        ends.append(end)
    marks = [ends[place] for place, token in enumerate(tokens) if token.flag]
    sentence = [ends[place] for place, token in enumerate(tokens) if token.sentence]
    marks += sentence[:1] + sentence[-1:]
    return [any(abs(end - mark) <= AROUND for mark in marks or [0]) for end in ends]
