"""The report as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...core.verdict import Severity
from ...core.visible import visible
from .contents import Report


def page(report: Report) -> str:
    """The page."""
    return _environment().get_template("page.html.jinja").render(report=report, severities=list(Severity))


@cache
def _environment() -> Environment:
    """Everything that a template writes is escaped, and nothing in it can command a browser or a terminal."""
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["class_of"] = lambda severity: str(severity).lower() if severity else "unjudged"
    return environment


def _breakable(name: str) -> Markup:
    """A long name that goes into a second line where its parts end, and not anywhere."""
    return Markup("<wbr>").join(re.split(r"(?<=[/:_-])(?=\w)", visible(name)))


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
