"""A tuned policy as the text of a file that `Policy.from_file` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ...core.errors import GuardConfigurationError
from ...core.policy import Policy
from ...core.visible import visible
from .tuned import POLICY_FILES, Promise, Tuned


def policy_text(tuned: Tuned, suffix: str) -> str:
    """The file, in the format that the suffix of its name says.

    Raises:
        GuardConfigurationError: Policies are written in no such format.
    """
    settings = settings_of(tuned.policy)
    comments = "".join(f"# {visible(' '.join(line.split()))}\n" for line in _comments(tuned)) + "\n"
    match suffix.lower():
        case ".toml":
            return comments + _toml(settings)
        case ".yaml" | ".yml":
            return comments + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        case ".json":  # which has no comments
            return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    raise GuardConfigurationError(
        f"a policy file ends in {', '.join(POLICY_FILES)}, and not in {suffix!r}", hint="rename the file"
    )


def settings_of(policy: Policy) -> dict[str, Any]:
    """The mode, and every setting that is not the default: what `Policy.model_validate` makes the same policy of."""
    settings = policy.model_dump(mode="json", exclude_defaults=True)
    if "trusted_roles" in settings:
        settings["trusted_roles"] = sorted(settings["trusted_roles"])  # a set has no order to write it in
    return {"mode": policy.mode, **settings}


def _comments(tuned: Tuned) -> Iterator[str]:
    yield "Written by qwen3guard tune."
    yield f"Aim: {tuned.aim}"
    if tuned.guard:
        yield f"Guard: {tuned.guard} (scores of another guard mean something else)"
    for part in tuned.data:
        unsafe = part.after.true_positives + part.after.false_negatives
        yield f"Data: {part.name}, {part.after.rows} rows, {unsafe} of them unsafe"
    for category in tuned.flagged:
        yield f"Let through and recorded: {category}"
    if tuned.margin or tuned.confidence:
        yield f"Scores may be off by {tuned.margin:g}" + (
            f"; constraints hold with confidence {tuned.confidence:g}" if tuned.confidence else ""
        )
    for promise in tuned.promises:
        yield _promise(promise, len(tuned.folds))


def _promise(promise: Promise, folds: int) -> str:
    return (
        f"{promise.measure}: {promise.value:.4f} on these rows, "
        f"{promise.held_out:.4f} +- {promise.spread:.4f} on held-out rows ({folds} folds)"
    )


def _toml(settings: Mapping[str, Any]) -> str:
    try:
        import tomlkit
    except ImportError as error:
        raise ImportError('writing TOML needs tomlkit: pip install "qwen3guard-integrations[eval]"') from error
    return tomlkit.dumps(settings)
