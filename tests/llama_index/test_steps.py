"""`guard_step` on the steps of real workflows."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardError, GuardUnavailableError
from qwen3guard_integrations.llama_index import guard_step

from .helpers import CANARY, REFUSAL, fake_guard

GUARD = fake_guard()


class Asked(Event):
    """A declared field, and whatever else."""

    question: str


def flow(**settings: Any) -> Workflow:
    """A workflow of two steps, which keeps what they were given."""

    class Library(Workflow):
        seen: list[Any] = []  # noqa: RUF012

        @step
        @guard_step(GUARD, takes={"question": "prompt"}, **settings)
        async def take(self, ctx: Context, ev: StartEvent) -> Asked | StopEvent:
            """Takes the question."""
            self.seen.append(ev)
            return Asked(question=ev.question, answer=ev.get("answer", "fine"))

        @step
        @guard_step(GUARD, gives={"result": "response"}, **settings)
        async def give(self, ev: Asked) -> StopEvent:
            """Gives the answer."""
            self.seen.append(ev)
            return StopEvent(result=ev.answer)

    Library.seen = []
    return Library(timeout=10)


async def test_what_is_safe_passes_as_the_same_event() -> None:
    workflow: Any = flow()
    assert await workflow.run(question="hi") == "fine"
    assert [type(event).__name__ for event in workflow.seen] == ["StartEvent", "Asked"]


async def test_a_blocked_question_reaches_no_step() -> None:
    workflow: Any = flow()
    assert await workflow.run(question=f"a {CANARY}") == REFUSAL
    assert workflow.seen == []


async def test_a_blocked_answer_is_refused() -> None:
    assert await flow().run(question="hi", answer=f"a {CANARY}") == REFUSAL


async def test_blocks_can_be_raised() -> None:
    given: Any
    for given in ({"question": f"a {CANARY}"}, {"question": "hi", "answer": f"a {CANARY}"}):
        with pytest.raises(BlockedError) as raised:
            await flow(on_block="raise").run(**given)
        assert CANARY not in str(raised.value)


async def test_what_is_redacted_goes_on_in_a_copy() -> None:
    workflow: Any = flow(policy={"unsafe": "redact", "redaction": "[gone]"})
    assert await workflow.run(question=f"a {CANARY}", answer=f"a {CANARY}") == "[gone]"
    assert [event.question for event in workflow.seen] == ["[gone]", "[gone]"]


async def test_a_dead_guard_stops_the_workflow() -> None:
    class Flow(Workflow):
        @step
        @guard_step(fake_guard(error=GuardUnavailableError("down")), takes={"q": "prompt"})
        async def only(self, ev: StartEvent) -> StopEvent:
            """Never runs."""
            raise AssertionError

    with pytest.raises(GuardError, match="down"):
        await Flow(timeout=10).run(q="hi")


async def test_an_answer_is_judged_with_its_question() -> None:
    judge = fake_guard()

    class Flow(Workflow):
        @step
        @guard_step(judge, takes={"q": "prompt", "other": "prompt"}, gives={"result": "response"})
        async def only(self, ev: StartEvent) -> StopEvent:
            """Answers."""
            return StopEvent(result="fine")

    assert await Flow(timeout=10).run(q="hi", other=None) == "fine"
    assert [[turn.content for turn in call[0].turns] for call in judge.calls] == [["hi"], ["hi", "fine"]]


async def test_fields_that_are_no_strings_are_not_let_through() -> None:
    with pytest.raises(TypeError, match="question is a int"):
        await flow().run(question=7)


async def test_a_field_that_no_event_has_is_a_mistake() -> None:
    with pytest.raises(GuardConfigurationError, match="no field is named"):
        guard_step(GUARD)
    fields: Any
    for fields in ({"takes": {"qestion": "prompt"}}, {"gives": {"reslut": "response"}}):

        class Flow(Workflow):
            @step
            @guard_step(GUARD, **fields)
            async def only(self, ev: StartEvent) -> StopEvent:
                """Answers."""
                return StopEvent(result="fine")

        with pytest.raises(GuardConfigurationError, match=r"has no field '(qestion|reslut)'"):
            await Flow(timeout=10).run(question="hi")


async def test_of_several_kinds_of_events_each_is_judged_by_the_fields_it_has() -> None:
    class Flow(Workflow):
        @step
        @guard_step(GUARD, takes={"question": "prompt"}, gives={"result": "response", "question": "prompt"})
        async def only(self, ev: StartEvent | Asked) -> Asked | StopEvent:
            """Asks anew, and answers."""
            return StopEvent(result=ev.question) if isinstance(ev, Asked) else Asked(question=ev.get("q"))

    assert await Flow(timeout=10).run(q="hi") == "hi"
    assert await Flow(timeout=10).run(q=CANARY) == REFUSAL


def plain(**settings: Any) -> Workflow:
    """A workflow whose only step is a plain function."""

    class Flow(Workflow):
        @step
        @guard_step(GUARD, takes={"q": "prompt"}, gives={"result": "response"}, **settings)
        def only(self, ev: StartEvent) -> StopEvent:
            """Answers."""
            return StopEvent(result=f"{ev.q} {ev.get('also', '')}".strip())

    return Flow(timeout=10)


async def test_a_step_may_be_a_plain_function() -> None:
    assert await plain().run(q="hi") == "hi"
    given: Any
    for given in ({"q": f"a {CANARY}"}, {"q": "hi", "also": CANARY}):
        assert await plain().run(**given) == REFUSAL
        assert await plain(policy={"unsafe": "redact", "redaction": "[gone]"}).run(**given) == "[gone]"
        with pytest.raises(BlockedError):
            await plain(on_block="raise").run(**given)


async def test_events_may_be_defined_beside_the_workflow() -> None:
    """Annotations that are strings, as in this file, do not say which they are."""

    class Near(Event):
        q: str

    class Flow(Workflow):
        @step
        @guard_step(GUARD, takes={"q": "prompt"})
        async def begin(self, ev: StartEvent) -> Near | StopEvent:
            """Begins."""
            return Near(q=ev.q)

        @step
        @guard_step(GUARD, takes={"q": "prompt"})
        async def end(self, ev: Near) -> StopEvent:
            """Ends."""
            return StopEvent(result=ev.q)

    assert await Flow(timeout=10).run(q="hi") == "hi"
    assert await Flow(timeout=10).run(q=CANARY) == REFUSAL

    async def gives_no_stop(self: Any, ev: StartEvent) -> Near:
        return Near(q="")

    with pytest.raises(GuardConfigurationError, match="gives no StopEvent"):
        guard_step(GUARD, takes={"q": "prompt"})(gives_no_stop)


def test_wrong_settings_are_named() -> None:
    wrong: Any = {"q": "propmt"}
    with pytest.raises(GuardConfigurationError, match="propmt"):
        guard_step(GUARD, takes=wrong)
    wrong = "explode"
    with pytest.raises(GuardConfigurationError, match="on_block='explode'"):
        guard_step(GUARD, takes={"q": "prompt"}, on_block=wrong)

    async def gives_no_stop(self: Any, ev: StartEvent) -> Asked:
        return Asked(question="")

    with pytest.raises(GuardConfigurationError, match="gives no StopEvent"):
        guard_step(GUARD, takes={"q": "prompt"})(gives_no_stop)
    guard_step(GUARD, takes={"q": "prompt"}, on_block="raise")(gives_no_stop)
