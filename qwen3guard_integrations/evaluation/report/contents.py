"""What a report says, in order: sections of tables, pictures and cases. Page and Markdown file only write it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Final

from ... import __version__
from ...core.verdict import Severity
from ..catalogue import (
    GROUP_KINDS,
    MODES,
    NOTHING,
    READINGS,
    REFUSALS,
    SCORES,
    SPEED,
    STREAMS,
    GroupKind,
    defined,
    number,
    reading,
)
from ..data.dataset import DataSet
from ..onset import BINS
from ..results import Result
from ..rows import Row
from ..summary import Comparison, Group, GuardSummary, Leak, Summary
from .mistakes import Mistakes, mistakes
from .pictures import bin_name, onset_picture, score_pictures
from .svg import Picture
from .tables import Block, Cell, Line, Table, count, estimated, side_by_side
from .terms import TERMS, Terms
from .token_maps import TokenMaps, token_maps

Part = Table | Picture | Mistakes | TokenMaps | Terms
Results = Mapping[str, Sequence[Result]]

SIGNIFICANT: Final = 0.05
"""The p-value below which the comparison of two guards is called a difference."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report; without parts it is not shown.

    Attributes:
        name: Its id in the page.
        title: Its heading.
        words: What a reader should know before.
        parts: What it shows.
    """

    name: str
    title: str
    words: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report.

    Attributes:
        title: Its heading.
        facts: What was evaluated on what: names and values.
        sections: In order.
        has_texts: Whether texts of rows are in it.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    has_texts: bool


def contents(summary: Summary, data: DataSet, results: Results, *, texts: bool) -> Report:
    """The report of a run; with `texts`, those of the worst mistakes and the most telling streams are in it."""
    rows = {row.id: row for row in data.rows} if texts else {}
    sections = (section for section in _sections(summary, results, rows) if section.parts)
    return Report(f"Evaluation on {summary.data}", tuple(_facts(summary, data)), tuple(sections), texts)


def _facts(summary: Summary, data: DataSet) -> Iterator[tuple[str, str]]:
    labels = Counter(row.label.severity for row in data.rows)
    yield "Data set", summary.data
    yield "Rows", f"{summary.rows:,} ({', '.join(f'{labels[severity]:,} {severity}' for severity in Severity)})"
    if data.skipped:
        yield "Left out", ", ".join(f"{rows:,} × {reason}" for reason, rows in sorted(data.skipped.items()))
    yield "Digest", summary.digest
    yield "Guards", ", ".join(guard.guard for guard in summary.guards)
    yield "Made with", f"qwen3guard-integrations {__version__}"


def _sections(summary: Summary, results: Results, rows: Mapping[str, Row]) -> Iterator[Section]:
    guards = summary.guards
    yield Section("figures", "Figures", _FIGURES, _parts(_main(guards), _failures(guards)))
    yield Section("confusion", "What was said of which rows", _CONFUSION, tuple(map(_confusion, guards)))
    yield Section("scores", "Scores", _SCORES, (*score_pictures(guards), *_parts(_calibration(guards))))
    for kind in GROUP_KINDS:
        yield Section(kind, _GROUPS[kind], _CATEGORIES if kind == "categories" else "", _parts(_groups(kind, guards)))
    refusals = side_by_side("Refusals", guards, REFUSALS)
    yield Section("refusals", "Refusals", _REFUSALS, _parts(refusals))
    yield Section("streams", "Streams, token by token", _STREAMS, tuple(_streams(summary, results, rows)))
    yield Section("comparisons", "Guards against each other", _COMPARISONS, _parts(_comparisons(summary.comparisons)))
    yield Section("speed", "Speed and cost", _SPEED, _parts(_speed(guards)))
    found = (part for guard in guards for part in mistakes(guard.guard, results[guard.guard], rows))
    yield Section("mistakes", "The worst mistakes", _MISTAKES, tuple(part for part in found if part.worst))
    yield Section("terms", "What the figures mean", "", (TERMS,))


def _parts(*parts: Table | None) -> tuple[Table, ...]:
    return tuple(part for part in parts if part is not None)


_FIGURES: Final = (
    "With 95 % bootstrap intervals where there are enough rows. Bold is the best of its line. "
    f"{NOTHING} stands where a figure has nothing to rest on."
)
_CONFUSION: Final = (
    "Each line is a label, and its cells say what the guard said of the rows with this label; the stronger its "
    "colour, the more of them. Rows without a verdict are not counted here."
)
_SCORES: Final = "The score of a row is how probably it is not Safe: P(Controversial) + P(Unsafe)."
_GROUPS: Final[dict[GroupKind, str]] = {
    "categories": "By category",
    "languages": "By language",
    "sources": "By source",
}
_CATEGORIES: Final = (
    "The unsafe rows of each labelled category against all rows that are not unsafe: the false positive rate is the "
    "same in every category."
)
_REFUSALS: Final = (
    "How often responses refuse, by the guard. Among responses labelled Safe this is over-refusal only where the "
    "prompts are harmless too."
)
_STREAMS: Final = (
    "A stream is flagged at the second of two tokens in a row with the same verdict, as in the official script; "
    "a guard that judges window by window flags at the end of a window, and where its tokens end is reckoned. What had "
    "left before the block depends on the policy's hold."
)
_COMPARISONS: Final = (
    "Rows on which just one of two guards is right, and the probability (McNemar's exact test) of a split at least as "
    "uneven if they were equally good."
)
_SPEED: Final = "As measured in this run, on its machine and with its batches; a call judges a batch."
_MISTAKES: Final = (
    "Rows that a guard takes for more harmful than their label says, and for less; those come first of which it is "
    "surest. The label may be what is wrong."
)


def _main(guards: Sequence[GuardSummary]) -> Table | None:
    return side_by_side("Main figures", guards, (*READINGS, *SCORES))


def _failures(guards: Sequence[GuardSummary]) -> Table | None:
    names = sorted({name for guard in guards for name in guard.failed})
    lines = tuple(Line(name, tuple(count(guard.failed.get(name, 0)) for guard in guards)) for name in names)
    return _table("Rows without a verdict, by error", "Error", [guard.guard for guard in guards], lines)


def _table(caption: str, corner: str, columns: Iterable[str], lines: Sequence[Line]) -> Table | None:
    return Table(caption, corner, tuple(columns), (Block("", tuple(lines)),)) if lines else None


def _confusion(guard: GuardSummary) -> Table:
    lines = []
    for label in map(str, Severity):
        said = guard.confusion.get(label, {})
        whole = sum(said.values())
        shares = [said.get(str(severity), 0) / whole if whole else 0.0 for severity in Severity]
        lines.append(
            Line(
                label,
                tuple(
                    Cell(f"{said.get(str(severity), 0):,}", f"{share:.0%}" if whole else "", heat=round(share, 3))
                    for severity, share in zip(Severity, shares, strict=True)
                ),
            )
        )
    severities = tuple(map(str, Severity))
    return Table(guard.guard, "Label ↓ said →", severities, (Block("", tuple(lines)),), beside=True)


def _calibration(guards: Sequence[GuardSummary]) -> Table | None:
    blocks = tuple(
        Block(
            guard.guard,
            tuple(
                Line(
                    f"{bin_.low:.1f} to {bin_.high:.1f}",
                    (count(bin_.rows), Cell(number(bin_.mean_score)), Cell(number(bin_.unsafe))),
                )
                for bin_ in guard.scored.calibration
                if bin_.rows
            ),
        )
        for guard in guards
        if guard.scored
    )
    columns = ("Rows", "Mean score", "Part that is unsafe")
    return Table("Reliability in numbers", "Score", columns, blocks, folded=True) if blocks else None


def _groups(kind: GroupKind, guards: Sequence[GuardSummary]) -> Table | None:
    """A block of guards for each group or, with one guard, a line for each."""
    named: dict[str, list[tuple[str, Group]]] = {}
    for guard in guards:
        groups: tuple[Group, ...] = getattr(guard, kind)
        for group in groups:
            named.setdefault(group.name, []).append((guard.guard, group))
    if not named:
        return None
    if len(guards) == 1:
        blocks = [Block("", tuple(_group(name, group) for name, ((_, group),) in named.items()))]
    else:
        blocks = [Block(name, tuple(_group(guard, group) for guard, group in told)) for name, told in named.items()]
    columns = (
        "Rows",
        "Unsafe",
        *(f"{figure}, {mode}" for figure in ("F1", "Recall", "False positives") for mode in MODES),
    )
    corner = _GROUPS[kind].removeprefix("By ").capitalize()
    return Table(f"{_GROUPS[kind]}", corner if len(guards) == 1 else "Guard", columns, tuple(blocks))


def _group(name: str, group: Group) -> Line:
    figures = [
        estimated(defined(reading(group, mode), figure))
        for figure in ("f1", "recall", "false_positive_rate")
        for mode in MODES
    ]
    unsafe = group.strict.true_positives + group.strict.false_negatives
    return Line(name, (count(group.strict.rows), count(unsafe), *figures))


def _streams(summary: Summary, results: Results, rows: Mapping[str, Row]) -> Iterator[Part]:
    guards = [guard for guard in summary.guards if guard.stream]
    picture = onset_picture(summary.guards)
    yield from _parts(side_by_side("Streams", guards, STREAMS))
    if picture:
        yield picture
    yield from _parts(_onsets(guards), _leaks(guards))
    for guard in guards:
        maps = tuple(token_maps(results[guard.guard], rows))
        if maps:
            yield TokenMaps(guard.guard, maps)


def _onsets(guards: Sequence[GuardSummary]) -> Table | None:
    shown = [(guard.guard, guard.stream) for guard in guards if guard.stream and guard.stream.onsets]
    lines = [Line(bin_name(name), tuple(count(stream.bins.get(name, 0)) for _, stream in shown)) for name in BINS]
    table = _table("Streams by where they were flagged", "Flag", (name for name, _ in shown), lines if shown else ())
    return replace(table, beside=True) if table else None


def _leaks(guards: Sequence[GuardSummary]) -> Table | None:
    """A block of guards for each hold or, with one guard, a line for each."""
    by_hold: dict[str, list[tuple[str, Leak]]] = {}
    for guard in guards:
        for hold, leak in (guard.stream.leaked if guard.stream else {}).items():
            by_hold.setdefault(hold, []).append((guard.guard, leak))
    columns = ("Unsafe responses", "Mean", "Median", "95th percentile", "Most")
    if len(guards) == 1:
        lines = [_leak(hold, leak) for hold, told in by_hold.items() for _, leak in told]
        return _table(_LEAKED, "Hold", columns, lines)
    blocks = [Block(f"hold “{hold}”", tuple(starmap(_leak, told))) for hold, told in by_hold.items()]
    return Table(_LEAKED, "Guard", columns, tuple(blocks)) if blocks else None


_LEAKED: Final = "Characters of unsafe responses that had left before the block"


def _leak(name: str, leak: Leak) -> Line:
    characters = (leak.mean, leak.median, leak.p95, leak.most)
    return Line(name, (count(leak.rows), *(Cell(number(value, "characters")) for value in characters)))


def _comparisons(comparisons: Sequence[Comparison]) -> Table | None:
    lines = [
        Line(
            f"{one.a} against {one.b}",
            (
                Cell(one.mode),
                *map(count, (one.rows, one.only_a_right, one.only_b_right)),
                Cell("< 0.001" if one.p_value < 0.001 else number(one.p_value)),
                Cell(_better(one)),
            ),
        )
        for one in comparisons
    ]
    columns = ("Reading", "Rows", "Only the first right", "Only the second right", "p", "More often right")
    return _table("Guards against each other", "Guards", columns, lines)


def _better(one: Comparison) -> str:
    if one.p_value >= SIGNIFICANT:
        return "no difference shown"
    return one.a if one.only_a_right > one.only_b_right else one.b


def _speed(guards: Sequence[GuardSummary]) -> Table | None:
    table = side_by_side("Speed and cost", guards, SPEED)
    if table is None:
        return None
    measured = [guard.latency for guard in guards]
    calls = Line("Calls", tuple(count(latency.calls) if latency else Cell(NOTHING) for latency in measured))
    costs = [latency.cost if latency else None for latency in measured]
    cost = Line("Cost of the run", tuple(Cell(f"{cost:,.4g}") if cost is not None else Cell(NOTHING) for cost in costs))
    more = (calls, cost) if any(cost is not None for cost in costs) else (calls,)
    return Table(table.caption, table.corner, table.columns, (Block("", (*table.lines, *more)),))
