"""`load_guard`: a guard by the name of its back end and model."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from ..core.errors import GuardConfigurationError
from .settings import GuardSettings

if TYPE_CHECKING:
    from .llama_guard import LlamaGuard
    from .moderation import OpenAIModerationGuard
    from .openai import OpenAIGuard
    from .stream import TransformersStreamGuard
    from .transformers import TransformersGuard

    Remote = OpenAIGuard | LlamaGuard | OpenAIModerationGuard
    InProcess = TransformersGuard | TransformersStreamGuard

_EXAMPLES: Final = (
    'set it to "transformers:Qwen/Qwen3Guard-Gen-0.6B" (in this process), '
    '"openai:Qwen/Qwen3Guard-Gen-4B" with base_url (a server), or "demo" (the tiny demonstration guard)'
)

_ON_SERVERS: Final = frozenset({"openai", "llama-guard", "openai-moderation"})

_MAY_BE_SECRET: Final = frozenset({"default_headers", "extra_body"})

_LOADED_WITH: Final[WeakKeyDictionary[object, dict[str, Any]]] = WeakKeyDictionary()


def how_loaded(guard: object) -> dict[str, Any] | None:
    """The arguments of `load_guard` that make `guard` again, without its key; None if it was made in another way."""
    try:
        return _LOADED_WITH.get(guard)
    except TypeError:  # somebody's own guard, which cannot be weakly referred to
        return None


def written_down(guard: object) -> dict[str, Any] | None:
    """As `how_loaded`, where that may be stored; None where an option can hold a secret: a header, a body, an address
    with a password or a query."""
    loaded = how_loaded(guard)
    if loaded is None or not _MAY_BE_SECRET.isdisjoint(loaded):
        return None
    address = urlsplit(str(loaded.get("base_url", "")))
    return None if "@" in address.netloc or address.query else dict(loaded)


def load_guard(
    guard: str | None = None, *, base_url: str | None = None, api_key: str | None = None, **options: Any
) -> InProcess | Remote:
    """The guard that `guard` names, ready to judge.

    Args:
        guard: `"provider:model"`. `transformers:` a Qwen3Guard-Gen or -Stream in this process, by hub id or local
            folder; `openai:` a Gen on an OpenAI-compatible server; `demo` and `demo-stream`, the tiny guards in the
            package. For comparisons, `llama-guard:` a Llama Guard on such a server and `openai-moderation:` a
            moderation endpoint. None reads `QWEN3GUARD_GUARD`.
        base_url: The address of the server; None reads `QWEN3GUARD_BASE_URL`. Text is sent to this host only.
        api_key: Its key; None reads `QWEN3GUARD_API_KEY`, or "EMPTY", which servers without keys accept.
        **options: Passed on to `TransformersGuard`, `TransformersStreamGuard`, `OpenAIGuard`, `LlamaGuard` or
            `OpenAIModerationGuard`.

    Raises:
        GuardConfigurationError: No guard is named, the provider is unknown, a server has no `base_url`, an
            option is unknown, or the model cannot be loaded. There is no default guard to fall back to.
        ImportError: The back end needs an extra; the message has the line to install it.
    """
    settings = GuardSettings()
    name = guard or settings.guard
    if not name:
        raise GuardConfigurationError("no guard named: pass one or set QWEN3GUARD_GUARD", hint=_EXAMPLES)
    loaded: InProcess | Remote
    provider, _, model = name.partition(":")
    address = base_url or (settings.base_url if provider in _ON_SERVERS else "")
    if provider not in _ON_SERVERS | {"remote-stream"} and (base_url or api_key):
        raise GuardConfigurationError(
            f"{name!r} runs in this process and takes no base_url or api_key", hint='name a server as "openai:<model>"'
        )
    match provider:
        case "openai" | "llama-guard" | "openai-moderation":
            key = api_key or settings.api_key.get_secret_value()
            loaded = _on_server(provider, model, {"base_url": address, "api_key": key}, options)
        case "transformers" | "demo" | "demo-stream":
            loaded = _in_process(provider, model, options)
        case "remote-stream":
            raise GuardConfigurationError(
                f"{provider!r} judges token by token, over the network, which this version cannot do yet"
            )
        case _:
            raise GuardConfigurationError(f"unknown guard {name!r}", hint=_EXAMPLES)
    _LOADED_WITH[loaded] = {"guard": name, **({"base_url": address} if address else {}), **options}
    return loaded


def _on_server(provider: str, model: str, server: Mapping[str, Any], options: Mapping[str, Any]) -> Remote:
    from .llama_guard import LlamaGuard
    from .moderation import OpenAIModerationGuard
    from .openai import OpenAIGuard

    kinds: dict[str, type[Remote]] = {"llama-guard": LlamaGuard, "openai-moderation": OpenAIModerationGuard}
    kind = kinds.get(provider, OpenAIGuard)
    _check_options(kind, options)
    return kind(model, **server, **options)


def _in_process(provider: str, model: str, options: dict[str, Any]) -> InProcess:
    """A guard in this process: the class that the checkpoint is for."""
    from .checkpoint import is_stream_checkpoint
    from .demo import load_demo_guard, load_demo_stream_guard
    from .stream import TransformersStreamGuard
    from .transformers import TransformersGuard

    streams = provider == "demo-stream" or (
        provider == "transformers" and is_stream_checkpoint(model, revision=options.get("revision"))
    )
    _check_options(TransformersStreamGuard if streams else TransformersGuard, options)
    match provider:
        case "demo":
            return load_demo_guard(**options)
        case "demo-stream":
            return load_demo_stream_guard(**options)
        case _:
            return TransformersStreamGuard(model, **options) if streams else TransformersGuard(model, **options)


def _check_options(guard: type, options: Mapping[str, Any]) -> None:
    """Raise for options that `guard` does not have, naming those that it has."""
    known = [name for name in signature(guard).parameters if name not in {"model", "base_url", "api_key"}]
    if unknown := sorted(options.keys() - set(known)):
        raise GuardConfigurationError(f"unknown option {', '.join(unknown)}", hint=f"known are {', '.join(known)}")
