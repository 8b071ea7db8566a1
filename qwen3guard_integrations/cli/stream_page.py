"""A screened stream as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from string import Template
from typing import Final

from ..core.verdict import Severity
from ..core.visible import visible
from .stream_outcome import Outcome, figures
from .stream_picture import LABELS, Judged, Picture, Span

_CLASSES: Final = {
    None: "unjudged",
    Severity.SAFE: "safe",
    Severity.CONTROVERSIAL: "controversial",
    Severity.UNSAFE: "unsafe",
}

_PARAGRAPH: Final = '<p class="text" lang="" dir="auto">'

# The content policy keeps a browser from loading or running anything, whatever the text holds.
_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
<h1>qwen3guard stream</h1>
<p class="decision $outcome">$decision</p>
<dl>
$figures</dl>
<ul class="legend" aria-label="Legend">
$legend</ul>
$sections</main>
</body>
</html>
""")

_STYLE: Final = """\
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d0d7de;
  --safe: #dff3e4; --controversial: #fff1b8; --unsafe: #ffd7d5; --stop: #b3131d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --ink: #e6edf3; --quiet: #9aa5b1; --line: #30363d;
    --safe: #12351f; --controversial: #4a3a00; --unsafe: #651a1e; --stop: #ff7b72;
  }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.7 system-ui, sans-serif; }
main { max-width: 48rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.1rem; margin: 0 0 .5rem; color: var(--quiet); font-weight: 600; }
h2 { font-size: .85rem; margin: 1.75rem 0 .25rem; color: var(--quiet); font-weight: 600; }
.decision { font-size: 1.4rem; font-weight: 700; margin: 0 0 1rem; line-height: 1.3; }
.decision.stopped, .stop { color: var(--stop); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0 0 1rem; font-size: .9rem; }
dt { color: var(--quiet); }
dd { margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 0; padding: .6rem 0;
  border-block: 1px solid var(--line); font-size: .9rem; white-space: nowrap; }
.text { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.reasoning { font-style: italic; border-inline-start: 3px solid var(--line); padding-inline-start: .9rem; }
.safe, .controversial, .unsafe { border-radius: 2px; padding-block: .1em; }
.safe { background: var(--safe); }
.controversial { background: var(--controversial); text-decoration: underline; text-underline-offset: .2em; }
.unsafe { background: var(--unsafe); font-weight: 700; }
.window { border-inline-end: 2px solid var(--quiet); }
.held { text-decoration: line-through; }
.controversial.held { text-decoration: underline line-through; }
.stop { margin: 1.25rem 0 .25rem; padding-block-start: .75rem; border-block-start: 3px solid; font-weight: 700; }
.stop small { display: block; color: var(--quiet); font-weight: 400; }
[title]:hover { outline: 2px solid; outline-offset: 1px; }
"""


def page(picture: Picture, outcome: Outcome, prompt: str | None) -> str:
    """The page: figures, a legend, the prompt if there was one, and the text as it was judged and released."""
    return _PAGE.substitute(
        title=escape(f"qwen3guard stream: {outcome.decision.summary}"),
        style=_STYLE,
        outcome="stopped" if outcome.stopped else "passed",
        decision=escape(("Stopped: " if outcome.stopped else "") + outcome.decision.summary),
        figures="".join(_figure(name, value) for name, value in figures(picture, outcome) if name != "decision"),
        legend="".join(_legend(picture)),
        sections=_prompt(prompt) + "".join(_sections(picture, outcome)),
    )


def _figure(name: str, value: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n"


def _legend(picture: Picture) -> Iterator[str]:
    for severity in Severity:
        yield f'<li><span class="{_CLASSES[severity]}">{severity}</span></li>\n'
    yield "<li>not judged</li>\n"
    if picture.windowed:
        yield '<li><span class="window">a window ends </span></li>\n'
    yield '<li><span class="held">never released</span></li>\n'
    yield "<li>rest the pointer on a word for its verdict</li>\n"


def _prompt(prompt: str | None) -> str:
    if prompt is None:
        return ""
    return f"<section>\n<h2>prompt</h2>\n{_PARAGRAPH}{_escaped(prompt)}</p>\n</section>\n"


def _sections(picture: Picture, outcome: Outcome) -> Iterator[str]:
    """What was released, the place of the stop, and what never left."""
    spans = list(picture.spans())
    yield from _text((span for span in spans if span.released), -1)
    if not outcome.stopped:
        return
    held = [span for span in spans if not span.released]
    yield '<section aria-labelledby="stop">\n'
    yield f'<p class="stop" id="stop">■ Stopped here: {escape(outcome.decision.summary)}'
    never = "What follows was never released." if held or picture.unread else "All of it had been released before."
    yield f"<small>After {picture.left} characters. {never}</small></p>\n"
    yield from _text(held, max((span.section for span in spans if span.released), default=-1), _unread(picture))
    yield "</section>\n"


def _unread(picture: Picture) -> str:
    title = "not judged: the stream had been stopped before it came"
    return f'<s class="held" title="{title}">{_escaped(picture.unread)}</s>' if picture.unread else ""


def _text(spans: Iterable[Span], section: int, rest: str = "") -> Iterator[str]:
    """A paragraph for each section of the spans, with a label where one begins after `section`; then the `rest`."""
    paragraph = ""
    for _, group in groupby(spans, key=lambda span: span.section):
        run = list(group)
        label = LABELS[run[0].point]
        if paragraph:
            yield f"{paragraph}</p>\n"
        if run[0].section != section:
            yield f"<h2>{label}</h2>\n"
        section = run[0].section
        paragraph = f'<p class="text {label}" lang="" dir="auto">{"".join(map(_token, run))}'
    if paragraph or rest:
        yield f"{paragraph or _PARAGRAPH}{rest}</p>\n"


def _token(span: Span) -> str:
    classes = [_CLASSES[span.severity]]
    if span.judged and span.judged.settled:
        classes.append("window")
    tag = "span" if span.released else "s"
    if not span.released:
        classes.append("held")
    title = escape(_title(span.judged) if span.judged else "not judged")
    return f'<{tag} class="{" ".join(classes)}" title="{title}">{_escaped(span.text)}</{tag}>'


def _title(judged: Judged) -> str:
    """Severity, its probability, categories, and what the policy says."""
    decision = judged.decision
    scores = decision.verdict.scores if decision.verdict else None
    probability = f" {scores[judged.severity]:.3f}" if scores else ""
    categories = f", {decision.category_names}" if decision.category_names else ""
    return f"{judged.severity}{probability}{categories}: {decision.action}, after {judged.milliseconds:.0f} ms"


def _escaped(text: str) -> str:
    return escape(visible(text))
