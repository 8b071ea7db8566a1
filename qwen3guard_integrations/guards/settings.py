"""Which guard, where, and with which key: from arguments or from `QWEN3GUARD_*` environment variables."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class GuardSettings(BaseSettings):
    """The settings that `load_guard` reads where an argument is left out.

    Attributes:
        guard: `QWEN3GUARD_GUARD`, such as "openai:Qwen/Qwen3Guard-Gen-4B".
        base_url: `QWEN3GUARD_BASE_URL`, such as "http://localhost:8000/v1".
        api_key: `QWEN3GUARD_API_KEY`; servers without keys take any.
    """

    model_config = SettingsConfigDict(env_prefix="QWEN3GUARD_", extra="ignore", hide_input_in_errors=True)

    guard: str = ""
    base_url: str = ""
    api_key: SecretStr = Field(default=SecretStr("EMPTY"))
