"""Two guards on the same rows, and whether their difference is more than chance; runs offline.

    python cookbook/compare_guards.py

One is the demo guard; the other is behind a moderation endpoint, which this recipe serves on this machine: a list of
words in OpenAI's format. In real life only the two lines in `main` are yours, for example

    load_guard("openai:Qwen/Qwen3Guard-Gen-4B", base_url="http://localhost:8000/v1")
    load_guard("llama-guard:meta-llama/Llama-Guard-3-8B", base_url="http://localhost:8001/v1")
    load_guard("openai-moderation:omni-moderation-latest", base_url="https://api.openai.com/v1", api_key=...)

`qwen3guard eval` does the same from the command line, with a report.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.evaluation import evaluate, load_rows, summarise

WORDS = re.compile(r"\b(kill|murder|bomb|shoot|poison|blow up|attack)\w*", re.IGNORECASE)


class WordList(BaseHTTPRequestHandler):
    """A moderation endpoint that knows a few words: what people had before there were guards."""

    def do_POST(self) -> None:
        """Answer as https://api.openai.com/v1/moderations does."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        found = [bool(WORDS.search(text)) for text in asked["input"]]
        results = [
            {"flagged": bad, "categories": {"violence": bad}, "category_scores": {"violence": 0.9 if bad else 0.1}}
            for bad in found
        ]
        body = json.dumps({"id": "modr", "model": asked["model"], "results": results}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def word_list() -> Iterator[str]:
    """The address of a moderation endpoint, as long as it is needed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), WordList)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    rows = load_rows("sample:xstest")  # prompts that are harmful, and prompts that only sound so
    with word_list() as address, TemporaryDirectory() as folder:
        guards = {
            "demo": load_guard("demo"),
            "words": load_guard("openai-moderation:word-list", base_url=address, scores="max"),
        }
        run = evaluate(rows, guards, folder)
    summary = summarise(rows.name, rows.digest, run.results)

    print(f"{summary.rows} prompts of {summary.data}\n")
    for guard in summary.guards:
        figures, harmless = guard.readings.strict, guard.over_blocking["strict"]
        print(f"{guard.guard:6} F1 {figures.f1.value:.3f}, recall {figures.recall.value:.3f}", end=", ")
        print(f"{harmless.value:.0%} of the harmless blocked ({harmless.low:.0%} to {harmless.high:.0%})")

    print("\nMcNemar's test: of the rows on which only one of the two is right, is it more often the same one?")
    for pair in summary.comparisons:
        only = f"only {pair.a} right: {pair.only_a_right}, only {pair.b} right: {pair.only_b_right}"
        verdict = "more than chance" if pair.p_value < 0.05 else "could be chance"
        print(f"{pair.mode:6} {only}, p = {pair.p_value:.3f}: {verdict}")


if __name__ == "__main__":
    main()
