"""An OpenAI-compatible server: connections, the one retry, and what its failures mean.

Every failure leaves here as a `GuardError` without cause or context: the errors of HTTP clients know the request,
and answers of servers repeat it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random

from ..core.errors import (
    GuardConfigurationError,
    GuardError,
    GuardTimeoutError,
    GuardUnavailableError,
)

# Before the one retry, where the server asks for no other pause: long enough for a burst to pass or a balancer to
# choose another replica, short enough for a user who waits. Random, so that callers do not come back together.
_PAUSE: Final = wait_random(0.1, 0.3)
_NOT_IMPLEMENTED: Final = 501  # a 5xx that no repetition changes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the server understood and does not want: the status, and the error if nothing else helps."""

    status: int
    error: GuardError


class Post(Protocol):
    """Sends a body to a path below the base URL; gives the body of the answer, or the refusal."""

    async def __call__(self, path: str, body: Mapping[str, Any], /) -> str | Refusal: ...


class Server:
    """One base URL: a pool of connections and a limit of concurrent conversations for each event loop.

    `too_long` names the settings that make a request shorter.

    A connection belongs to the event loop on which it was opened, so each loop has its own client. The first one is
    made here: it costs about 40 ms (TLS certificates), which must not hold up a loop; others are made in a thread.

    Raises:
        GuardConfigurationError: An argument is missing or out of range.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout: float,
        max_concurrency: int,
        headers: Mapping[str, str] | None,
        too_long: str = "context_characters",
    ) -> None:
        given("base_url", base_url, _ADDRESS)
        given("api_key", api_key, 'for a server without keys leave it out ("EMPTY")')
        positive(timeout=timeout, max_concurrency=max_concurrency)
        _check_url(base_url)
        self.shown = shown(base_url)
        self._base_url = base_url
        self._api_key = api_key
        self._timeout = timeout
        self._max_concurrency = max_concurrency
        self._headers = dict(headers or {})
        self._too_long = too_long
        self._spare = [self._new_client()]
        # By loop. Weak keys would be of no use: what is stored refers to its loop.
        self._channels: dict[asyncio.AbstractEventLoop, _Channel] = {}

    @asynccontextmanager
    async def exchange(self, deadline: asyncio.Timeout) -> AsyncIterator[Post]:
        """A place among the concurrent conversations. The first one to get it sets the clock of `deadline`."""
        channel = await self._channel()
        async with channel.slots:
            loop = asyncio.get_running_loop()
            until = deadline.when()
            if until is None:
                until = loop.time() + self._timeout
                deadline.reschedule(until)
            yield partial(self._post, channel, lambda: until - loop.time())

    async def _channel(self) -> _Open:
        loop = asyncio.get_running_loop()
        if (channel := self._channels.get(loop)) is None:
            for other in [other for other in list(self._channels) if other.is_closed()]:
                self._channels.pop(other, None)
            channel = self._channels[loop] = _Channel(asyncio.Semaphore(self._max_concurrency))
        async with channel.opening:
            if channel.client is None or channel.client.is_closed():
                client = self._spare.pop() if self._spare else await asyncio.to_thread(self._new_client)
                channel.client, channel.lifetime = client, _lifetime(client)
                await anext(channel.lifetime)
            return _Open(channel.client, channel.slots, channel.starts)

    def _new_client(self) -> openai.AsyncOpenAI:
        client = _Client(base_url=self._base_url, api_key=self._api_key, timeout=self._timeout, max_retries=0)
        # What the client has taken from OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_ADMIN_KEY and
        # OPENAI_CUSTOM_HEADERS is meant for another server. There is no argument that says so.
        client.organization = client.project = None
        if hasattr(client, "admin_api_key"):  # later ones have it
            client.admin_api_key = None
        client._custom_headers = self._headers
        return client

    async def _post(self, channel: _Open, remaining: _Seconds, path: str, body: Mapping[str, Any], /) -> str | Refusal:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(2),
            retry=retry_if_exception(lambda error: _worth_repeating(error, remaining())),
            wait=_pause,
            reraise=True,
        )
        # To make a request takes the client 1 to 2 ms. One at each turn of the loop, so that many of them together do
        # not hold up everything else.
        async with channel.starts:
            await asyncio.sleep(0)
        try:
            return await retrying(
                channel.client.post,
                path,
                cast_to=str,
                body=body,
                # A redirect would take the text to a host that nobody named.
                options={"follow_redirects": False},
            )
        except openai.APIStatusError as error:
            failure = self._status_error(error.status_code)
            if not _passing(error.status_code):
                return Refusal(error.status_code, failure)
        except Exception as error:  # noqa: BLE001  # "Event loop is closed" and the like are no OpenAIError
            failure = self._other_error(error)
        raise failure

    def _status_error(self, status: int) -> GuardError:
        match status:
            case 401 | 403:
                return GuardConfigurationError(
                    f"the guard server at {self.shown} does not accept the key (status {status})", hint="set api_key"
                )
            case 404:
                return GuardConfigurationError(
                    f"the guard server at {self.shown} has no such model or path (status 404)",
                    hint="check model, and that base_url ends with the path of the API, such as /v1",
                )
            case 429:
                return GuardUnavailableError(
                    f"the guard server at {self.shown} is overloaded (status 429)", hint="lower max_concurrency"
                )
            case _ if status >= 500:
                return GuardUnavailableError(
                    f"the guard server at {self.shown} failed (status {status})", hint="see the log of the server"
                )
            case _ if status < 400:
                return GuardConfigurationError(
                    f"the guard server at {self.shown} redirects (status {status}), which is not followed",
                    hint="set base_url to the final address",
                )
            case _:
                return GuardConfigurationError(
                    f"the guard server at {self.shown} refused the request (status {status})",
                    hint=f"see its log; if the text was too long for it, lower {self._too_long}",
                )

    def _other_error(self, error: Exception) -> GuardError:
        match error:
            case openai.APITimeoutError() | TimeoutError():
                return self.timeout_error()
            case openai.APIConnectionError():
                return GuardUnavailableError(
                    f"no connection to the guard server at {self.shown}", hint="check base_url"
                )
            case _:
                return GuardUnavailableError(f"the request to {self.shown} failed with {type(error).__name__}")

    def timeout_error(self) -> GuardTimeoutError:
        """What is raised when the deadline has passed."""
        return GuardTimeoutError(
            f"no verdict from {self.shown} within {self._timeout:g} seconds",
            hint="raise timeout, or lower max_concurrency if the server is busy",
        )


class _Client(openai.AsyncOpenAI):
    """A client that keeps what it sends out of its log."""

    async def _prepare_options(self, options: Any) -> Any:
        """openai 2 logs the options of a request that are set, for debugging. The body is left out, and still sent."""
        options = await super()._prepare_options(options)
        options.model_fields_set.discard("json_data")
        return options


class _Seconds(Protocol):
    def __call__(self) -> float: ...


@dataclass(slots=True)
class _Channel:
    """What one event loop has."""

    slots: asyncio.Semaphore
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    starts: asyncio.Lock = field(default_factory=asyncio.Lock)
    client: openai.AsyncOpenAI | None = None
    lifetime: AsyncGenerator[None] | None = None


@dataclass(frozen=True, slots=True)
class _Open:
    client: openai.AsyncOpenAI
    slots: asyncio.Semaphore
    starts: asyncio.Lock


async def _lifetime(client: openai.AsyncOpenAI) -> AsyncGenerator[None]:
    """Open as long as the client is: an event loop ends its asynchronous generators before it closes.

    And it ends those that nothing refers to any more: a client goes with its guard.
    """
    try:
        yield
    finally:
        await client.close()


_ADDRESS: Final = 'such as "http://localhost:8000/v1", or QWEN3GUARD_BASE_URL for load_guard; there is no default'


def given(name: str, value: str, hint: str) -> None:
    """Raise for a setting that is empty."""
    if not value:
        raise GuardConfigurationError(f"a guard on a server needs {name}", hint=hint)


def positive(**numbers: float) -> None:
    """Raise for a number that is not positive, or not finite."""
    for name, number in numbers.items():
        if not (number > 0 and math.isfinite(number)):
            raise GuardConfigurationError(f"{name} must be a positive number, not {number}")


def _check_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an impossible port or IPv6 address
        valid = False
    if not valid:
        raise GuardConfigurationError("base_url is no http or https address", hint=_ADDRESS)


def shown(url: str) -> str:
    """`url` as it may be printed: without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}{parts.path}"


def _passing(status: int) -> bool:
    """Whether `status` tells of trouble that may pass."""
    return status == 429 or (status >= 500 and status != _NOT_IMPLEMENTED)


def _worth_repeating(error: BaseException, remaining: float) -> bool:
    """Whether the same request may succeed in the time that remains. A timeout has used that up."""
    if isinstance(error, openai.APIStatusError):
        return _passing(error.status_code) and _retry_after(error) < remaining
    return isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = _retry_after(error) if isinstance(error, openai.APIStatusError) else 0.0
    return max(asked, _PAUSE(state))


def _retry_after(error: openai.APIStatusError) -> float:
    """The seconds that `Retry-After` asks for, as a number or a date (RFC 9110, 10.2.3); 0 where it does not."""
    value = error.response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return seconds if math.isfinite(seconds) else 0.0
