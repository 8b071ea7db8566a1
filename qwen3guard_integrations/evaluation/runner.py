"""`evaluate`: guards are asked about every row of a data set, and what they say is on disk batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ..core.conversation import Conversation
from ..core.errors import GuardConfigurationError, GuardError, GuardResponseError
from ..core.policy import Policy
from ..core.verdict import Severity, Verdict
from ..guards.journal import innermost
from ..guards.protocol import Guard
from .data.dataset import DataSet
from .lanes import at_once, in_process, in_turn
from .results import Result
from .rows import Label, Row
from .run_info import GuardInfo, RunInfo, versions_of
from .store import GuardFiles, Run, Timing, opened

OnError = Literal["record", "stop"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: so many of `rows` rows are judged by `guard` and written."""

    guard: str
    done: int
    rows: int


def evaluate(
    data: DataSet,
    guards: Mapping[str, Guard],
    folder: str | Path,
    *,
    batch_size: int = 32,
    concurrency: int = 4,
    streams: bool = False,
    policy: Policy | None = None,
    on_error: OnError = "record",
    restart: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """What each guard says of each row, in the order of the rows; the files in `folder` hold it too (see `store`).

    A run that was stopped, also by a kill, goes on where it was when it is asked for again, and ends with the same
    results files, byte for byte, as one that nothing stopped, as far as the guards say the same again. Guards are asked
    one after the other: they do not take time from each other.

    Args:
        data: The rows.
        guards: By the names that the report gives them. More may be added to a run that is done.
        folder: Of this run alone; made if it is missing.
        batch_size: Rows that a guard is asked about in one call. 32 keep a small model busy, and a kill loses no more.
        concurrency: Batches that a guard on a server is asked about at once. How many requests these are at once is
            the guard's own to say (`max_concurrency`); a few batches keep it supplied. A guard in this process is
            asked about one batch at a time.
        streams: Judge responses as streams too, see `judge_streams`; batches then come one at a time.
        policy: What stops streams.
        on_error: When a guard fails, each row of the batch is asked about alone. "record" puts the error's name into
            the results of the rows that fail again, unless the guard fails at a harmless sentence as well; "stop"
            raises at the first failure.
        restart: Forget what the folder holds of an earlier run.
        on_progress: Called when a guard begins, and after each batch that was written.

    Raises:
        GuardError: The guard is down or wrongly set up, or `on_error` is "stop". What was judged before is kept.
        RunError: `folder` holds another run.
        GuardConfigurationError: A number is not positive, or there is nothing to ask or nobody to be asked.
        OSError: A file cannot be written.
    """
    _check(data, guards, batch_size=batch_size, concurrency=concurrency)
    folder, policy = Path(folder), policy or Policy()
    info = RunInfo(
        versions=versions_of(guards.values()),
        data=data.name,
        digest=data.digest,
        rows=len(data.rows),
        batch_size=batch_size,
        streams=streams,
        policy=policy.model_dump(mode="json", exclude_defaults=True) if streams else {},
        guards=tuple(GuardInfo.of(name, guard) for name, guard in guards.items()),
    )
    opened(folder, info, restart=restart)
    results: dict[str, tuple[Result, ...]] = {}
    timings: dict[str, tuple[Timing, ...]] = {}
    for about in info.guards:
        judge = _Judge(guards[about.name], policy if streams else None)
        with (
            GuardFiles(folder, about, data.rows, batch_size) as files,
            closing(_judged(judge, files, data.rows, batch_size, concurrency, on_error)) as steps,
        ):
            for done in steps:
                if on_progress:
                    on_progress(Progress(about.name, done, len(data.rows)))
            results[about.name], timings[about.name] = tuple(files.results), tuple(files.timings)
    return Run(info, results, timings)


def _check(data: DataSet, guards: Mapping[str, Guard], *, batch_size: int, concurrency: int) -> None:
    for name, number in {"batch_size": batch_size, "concurrency": concurrency}.items():
        if number < 1:
            raise GuardConfigurationError(f"{name} must be positive, not {number}")
    if not data.rows:
        raise GuardConfigurationError(f"{data.name} has no rows")
    if not guards:
        raise GuardConfigurationError("no guard to evaluate")


def _judged(
    judge: _Judge, files: GuardFiles, rows: Sequence[Row], batch_size: int, concurrency: int, on_error: OnError
) -> Generator[int]:
    """Ask about the rows that are not done, and write; how many are done, at first and after each batch."""
    yield len(files.results)
    starts = range(len(files.results), len(rows), batch_size)
    streams = judge.policy is not None
    flows = (_batch(rows[start : start + batch_size], streams=streams, on_error=on_error) for start in starts)
    one_by_one = concurrency == 1 or streams or in_process(judge.guard)
    outcomes = in_turn(flows, judge) if one_by_one else at_once(flows, judge.ajudge, concurrency)
    written = time.perf_counter()
    with closing(outcomes):
        for start, outcome in zip(starts, outcomes, strict=True):
            now = time.perf_counter()
            files.append(
                outcome.results,
                Timing(
                    batch=start // batch_size,
                    rows=len(outcome.results),
                    milliseconds=tuple(outcome.milliseconds),
                    seconds=round(now - written, 6),
                ),
            )
            written = now
            yield len(files.results)


class _Ask(NamedTuple):
    """What a batch asks about: its rows, or what was said of them (`said`) to have their responses judged as streams.

    `anew` asks also where a cache knows the answer.
    """

    rows: Sequence[Row]
    said: Sequence[Result] | None = None
    anew: bool = False


@dataclass(slots=True)
class _Outcome:
    """What was said of a batch, and how long each call took that gave verdicts. Judging streams is no call."""

    streams: bool
    results: list[Result] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)


# What a guard that is well can always judge.
_PROBE: Final = _Ask(
    [Row(id="", conversation=Conversation.of_prompt("Hello."), label=Label(severity=Severity.SAFE))], anew=True
)
_Asking = Generator[_Ask, list[Result], None]


def _batch(rows: Sequence[Row], *, streams: bool, on_error: OnError) -> Generator[_Ask, list[Result], _Outcome]:
    """The flow of one batch: all rows in one call or, when that fails, each in a call of its own."""
    outcome = _Outcome(streams)
    try:
        yield from _call(rows, outcome)
    except GuardError:
        if on_error == "stop":
            raise
        for row in rows:
            yield from _alone(row, outcome)
    return outcome


def _call(rows: Sequence[Row], outcome: _Outcome) -> _Asking:
    begin = time.perf_counter()
    results = yield _Ask(rows)
    milliseconds = round(1000 * (time.perf_counter() - begin), 3)
    if outcome.streams:
        results = yield _Ask(rows, said=results)
    outcome.milliseconds.append(milliseconds)
    outcome.results.extend(results)


def _alone(row: Row, outcome: _Outcome) -> _Asking:
    """The row's verdict, or the error's name. Where the probe fails too it is not the row, and that error is raised."""
    try:
        yield from _call([row], outcome)
    except GuardError as error:
        failed = type(error).__name__
    else:
        return
    yield _PROBE
    outcome.results.append(Result(id=row.id, label=row.label, response=row.is_response, error=failed))


@dataclass(frozen=True, slots=True)
class _Judge:
    """Asks a guard: the two drivers of a batch. Streams, which have a policy, are judged by the first one only."""

    guard: Guard
    policy: Policy | None

    def __call__(self, ask: _Ask) -> list[Result]:
        if ask.said is not None and self.policy is not None:
            return _with_streams(ask.said, ask.rows, self.guard, self.policy)
        return _results(ask, self._asked(ask).check_many([row.conversation for row in ask.rows]))

    async def ajudge(self, ask: _Ask) -> list[Result]:
        return _results(ask, await self._asked(ask).acheck_many([row.conversation for row in ask.rows]))

    def _asked(self, ask: _Ask) -> Guard:
        return innermost(self.guard) if ask.anew else self.guard


def _results(ask: _Ask, verdicts: Sequence[Verdict]) -> list[Result]:
    if len(verdicts) != len(ask.rows):
        raise GuardResponseError(f"the guard gave {len(verdicts)} verdicts on {len(ask.rows)} conversations")
    return [
        Result(id=row.id, label=row.label, response=row.is_response, verdict=_kept(verdict))
        for row, verdict in zip(ask.rows, verdicts, strict=True)
    ]


def _with_streams(results: Sequence[Result], rows: Sequence[Row], guard: Guard, policy: Policy) -> list[Result]:
    from .streams import judge_streams

    said = iter(judge_streams(guard, [row for row in rows if row.is_response], policy))
    return [result.model_copy(update={"stream": next(said)}) if result.response else result for result in results]


def _kept(verdict: Verdict) -> Verdict:
    """`verdict` as it is written: scores to six digits, which is more than they are good for, and no foreign word."""
    changed: dict[str, object] = {}
    if verdict.scores is not None:
        rounded = {name: round(score, 6) for name, score in verdict.scores}
        changed["scores"] = verdict.scores.model_copy(update=rounded)
    if verdict.other_categories:  # a guard that babbles may have them from the text
        changed["other_categories"] = ("other",)
    return verdict.model_copy(update=changed) if changed else verdict
