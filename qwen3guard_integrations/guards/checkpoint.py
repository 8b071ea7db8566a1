"""Finding and loading a Qwen3Guard checkpoint: local folder, hub cache, ModelScope cache, hub. Never remote code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..core.errors import GuardConfigurationError

try:
    import torch as torch  # other modules take it from here
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    raise ImportError(
        f"a guard in this process needs {error.name or 'transformers and torch'}: "
        'pip install "qwen3guard-integrations[transformers]"'
    ) from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .stream_model import Qwen3ForGuardModel

_SMALL: Final = 100_000_000  # parameters: below this a CPU gains nothing from half precision
_LARGE_BLOCK: Final = 16 << 20  # bytes: more than a tensor of a small model, less than the 32 MiB that glibc counts


def load_checkpoint(
    name: str, *, device: str | None, dtype: str | None, revision: str | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The Gen model and tokenizer called `name`, on `device`, ready to judge.

    Args:
        name: A local folder, or a hub id. What is cached already is used without asking the network.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: A torch dtype by name; None takes bfloat16 where the device computes in it, float16 on MPS, and
            float32 otherwise and for tiny models on the CPU.
        revision: Of the hub repository.

    Raises:
        GuardConfigurationError: There is no such checkpoint, or it is not a Qwen3Guard-Gen.
    """
    if is_stream_checkpoint(name, revision=revision):
        raise GuardConfigurationError(
            f"{name} is a Qwen3Guard-Stream checkpoint, and this guard judges with Gen",
            hint="use a Gen checkpoint, or load_guard, which takes both",
        )
    source = _source(name)
    tokenizer = _load(AutoTokenizer, source, revision)
    if not tokenizer.chat_template:
        raise GuardConfigurationError(f"{name} has no chat template", hint="use the official tokenizer files")
    model = _load(AutoModelForCausalLM, source, revision, dtype="auto", use_safetensors=True)
    return _placed(model, name, device, dtype), tokenizer


def load_stream_checkpoint(
    name: str, *, device: str | None, dtype: str | None, revision: str | None
) -> tuple[Qwen3ForGuardModel, PreTrainedTokenizerBase]:
    """The Stream model and tokenizer called `name`, on `device`, ready to judge. Arguments as of `load_checkpoint`.

    Raises:
        GuardConfigurationError: There is no such checkpoint, it is not a Qwen3Guard-Stream, or a weight is missing.
    """
    from .stream_model import Qwen3ForGuardModel

    if not is_stream_checkpoint(name, revision=revision):
        raise GuardConfigurationError(
            f"{name} is no Qwen3Guard-Stream checkpoint", hint="use a Stream checkpoint, or load_guard for Gen"
        )
    model, tokenizer = load_own_model(
        Qwen3ForGuardModel, name, what="Qwen3Guard-Stream", device=device, dtype=dtype, revision=revision
    )
    stream: Qwen3ForGuardModel = model
    return stream, tokenizer


def load_own_model(
    factory: Any, name: str, *, what: str, device: str | None, dtype: str | None, revision: str | None
) -> tuple[Any, PreTrainedTokenizerBase]:
    """A model of a class of this package, and its tokenizer. Arguments as of `load_checkpoint`.

    Args:
        factory: The class: a `PreTrainedModel`.
        what: What checkpoints of this class are called.

    Raises:
        GuardConfigurationError: There is no such checkpoint, or its weights are not those of the class.
    """
    source = _source(name)
    tokenizer = _load(AutoTokenizer, source, revision)
    model, found = _load(factory, source, revision, dtype="auto", use_safetensors=True, output_loading_info=True)
    if found["missing_keys"] or found["unexpected_keys"] or found["mismatched_keys"]:
        wrong = sorted(map(str, (*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"])))
        raise GuardConfigurationError(
            f"the weights of {name} are not those of {what}: {', '.join(wrong[:3])}", hint="use the official files"
        )
    return _placed(model, name, device, dtype), tokenizer


def is_stream_checkpoint(name: str, *, revision: str | None = None) -> bool:
    """Whether the checkpoint called `name` is a Qwen3Guard-Stream.

    Raises:
        GuardConfigurationError: There is no such checkpoint.
    """
    if not name:
        raise GuardConfigurationError("no model named", hint='such as "transformers:Qwen/Qwen3Guard-Gen-0.6B"')
    config = _load(AutoConfig, _source(name), revision)
    return "Qwen3ForGuardModel" in (getattr(config, "architectures", None) or ())


def _source(name: str) -> str:
    return _modelscope_folder(name) or name


def _placed(model: Any, name: str, device: str | None, dtype: str | None) -> Any:
    try:
        where = torch.device(device or _best_device())
        placed = model.to(device=where, dtype=_dtype(dtype, where, model.num_parameters())).eval()
    except (RuntimeError, AssertionError) as error:
        raise GuardConfigurationError(
            f"cannot put {name} on device {device!r}: {str(error).splitlines()[0]}"
        ) from error
    if where.type == "cpu":
        _keep_memory()
    return placed


def _keep_memory() -> None:
    """Let glibc keep the memory of one batch for the next.

    It gives memory back to the system as soon as more lies unused than twice the largest block ever freed. A large
    model's own blocks see to that; with a small one the tensors of every batch would come anew, page by page, which
    takes a tenth to a third of the time. This block is never written to, so that it takes no memory itself.
    """
    torch.empty(_LARGE_BLOCK, dtype=torch.uint8)


def _load(factory: Any, source: str, revision: str | None, **options: Any) -> Any:
    """`factory.from_pretrained`, first from what is on this machine, then, if that is not all, from the hub."""
    is_folder = Path(source).is_dir()
    attempts = (True,) if is_folder or os.environ.get("HF_HUB_OFFLINE") == "1" else (True, False)
    for local in attempts:
        try:
            return factory.from_pretrained(
                source, revision=revision, local_files_only=local, trust_remote_code=False, **options
            )
        except (OSError, ValueError) as error:
            failure = error
    raise GuardConfigurationError(
        f"cannot load {source!r}: {str(failure).splitlines()[0]}",
        hint="give a local folder or a hub id that is cached or can be downloaded",
    ) from failure


def _modelscope_folder(name: str) -> str | None:
    """Where ModelScope's `snapshot_download` has put the model `name`, if it has; it writes dots as "___"."""
    if Path(name).is_dir():
        return None
    cache = Path(os.environ.get("MODELSCOPE_CACHE", Path.home() / ".cache" / "modelscope" / "hub"))
    folders = (cache / middle / name.replace(".", "___") for middle in ("models", "hub/models", ""))
    return next((str(folder) for folder in folders if (folder / "config.json").is_file()), None)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str | None, device: torch.device, parameters: int) -> torch.dtype:
    if name is not None:
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise GuardConfigurationError(f"dtype {name!r} is no torch dtype", hint='such as "bfloat16"')
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "mps":
        return torch.float16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # no public name for it
    return torch.bfloat16 if native and parameters >= _SMALL else torch.float32
