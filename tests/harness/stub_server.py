"""An OpenAI-compatible server that costs nothing, answers the same every time, and fails when told to.

    python -m tests.harness.stub_server --port 0 --latency 0.05 [--key SECRET] [--faults faults.json]

    with stub_server(faults={"rate_limited": 2}) as server:
        OpenAI(base_url=server.url, api_key="any")

A bare asyncio.Protocol, because a benchmark of Pairsmith must never measure its stub. Beside /v1/models and
/v1/chat/completions there are GET /stats and POST /reset, /faults, /latency, which need no key.
"""

import argparse
import asyncio
import http.client
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal, cast

import orjson

Json = dict[str, Any]
Headers = dict[str, str]  # names in lower case

QUALITIES = {"strong": (50, 99), "weak": (0, 70), "judge": (0, 99)}  # a model's range of xx in its marker [q=0.xx]
WORDS = [
    "a",
    "about",
    "after",
    "all",
    "also",
    "and",
    "are",
    "as",
    "at",
    "because",
    "before",
    "but",
    "by",
    "clear",
    "each",
    "example",
    "for",
    "from",
    "good",
    "have",
    "how",
    "idea",
    "if",
    "in",
    "is",
    "it",
    "keep",
    "let",
    "make",
    "more",
    "most",
    "new",
    "not",
    "of",
    "often",
    "on",
    "one",
    "or",
    "other",
    "part",
    "people",
    "point",
    "question",
    "reason",
    "same",
    "should",
    "simple",
    "so",
    "some",
    "step",
    "than",
    "that",
    "the",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "this",
    "time",
    "to",
    "two",
    "use",
    "water",
    "we",
    "when",
    "which",
    "with",
    "work",
]
REFUSAL = "I'm sorry, but I can't help with that."
UNREADABLE = "Both answers have their merits, and much depends on what the reader is looking for."

QUALITY = re.compile(r"\[q=(\d+(?:\.\d+)?)\]")
# The greedy start finds the last fence: a prompt may name the tags in its instructions before it uses them.
FENCES = [re.compile(rf".*<answer_{i}>(.*?)</answer_{i}>", re.DOTALL) for i in (1, 2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, and how often.

    A float is a probability, drawn from the request's hash and how often it was asked; an int is a number of first
    requests. So 1.0 strikes every request, and 1 strikes one.
    """

    rate_limited: float = 0  # 429 with Retry-After
    server_error: float = 0  # 500
    slow: float = 0  # answers after slow_seconds
    hang: float = 0  # never answers
    broken_json: float = 0  # 200 with half a body
    disconnect: float = 0  # closes the socket instead of answering
    unreadable_verdict: float = 0  # the judge replies with prose
    empty: float = 0  # content ""
    refusal: float = 0  # content REFUSAL
    length: float = 0  # half the text, finish_reason "length"
    first_position_bias: float = 0  # always a probability, and not transient: asked again, a biased judge is as biased
    retry_after: float = 1  # seconds
    slow_seconds: float = 5.0
    context_chars: float = float("inf")  # a longer prompt gets a 400
    transient: bool = False  # a fault strikes a request only the first time that it is asked

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            fits, wanted = type(value) in (int, float) and value >= 0, "a number from 0"
            if name == "transient":
                fits, wanted = isinstance(value, bool), "true or false"
            elif name not in ("retry_after", "slow_seconds", "context_chars"):
                fits = fits and (value <= 1 or (isinstance(value, int) and name != "first_position_bias"))
                wanted = "a probability from 0.0 to 1.0, or a whole number of first requests"
            if not fits:
                raise ValueError(f"fault {name} is {value!r}; it must be {wanted}")


@dataclass(slots=True)
class Reply:
    """What goes back, when, and whether at all."""

    body: bytes = b"{}"
    status: int = 200
    headers: str = ""
    delay: float = 0.0
    fate: Literal["answer", "hang", "disconnect"] = "answer"
    in_flight: bool = False


def reply_error(status: int, message: str, code: str | None = None, kind: str = "invalid_request_error") -> Reply:
    """An error in OpenAI's form."""
    return Reply(orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}), status)


def read_text(message: Json) -> str:
    """A message's text, whether its content is a string, a list of parts or null."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def draw(purpose: str, asked: bytes, times: int) -> float:
    """A number from 0 to below 1 that depends on nothing but the request and how often it was asked."""
    return int.from_bytes(sha256(b"%b %d %b" % (purpose.encode(), times, asked)).digest()[:6]) / 2**48


def write_answer(model: str, digest: bytes) -> str:
    rng = random.Random(digest)
    text = " ".join(rng.choices(WORDS, k=rng.randint(20, 60)))
    return f"{text.capitalize()}. [q=0.{rng.randint(*QUALITIES[model]):02d}]"


def measure_quality(answer: str) -> float:
    """The last marker's value; without one a number below 1 that grows with the length."""
    if marks := QUALITY.findall(answer):
        return float(marks[-1])
    return len(answer.strip()) / (len(answer.strip()) + 400)


def find_answers(messages: list[Json]) -> list[str]:
    """The two fenced answers in the last user message, or an empty list."""
    asked = next((read_text(m) for m in reversed(messages) if m.get("role") == "user"), "")
    found = [match[1] for fence in FENCES if (match := fence.match(asked))]
    return found if len(found) == len(FENCES) else []


def write_verdict(answers: list[str], as_json: bool, biased: bool) -> str:
    first, second = map(measure_quality, answers)
    verdict = "1" if biased or first > second else "2" if second > first else "tie"
    reason = f"Answer 1 has quality {first:.3f} and answer 2 has quality {second:.3f}."
    return orjson.dumps({"reason": reason, "verdict": verdict}).decode() if as_json else f"{reason}\nVerdict: {verdict}"


def build_completion(body: Json, digest: bytes, text: str, finish_reason: str) -> Json:
    """OpenAI's chat.completion object; even its id and its time follow from the request alone."""
    prompt, completion = sum(len(read_text(m)) for m in body["messages"]) // 4, len(text) // 4
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{digest.hex()[:24]}",
        "object": "chat.completion",
        "created": 1_750_000_000 + digest[0],
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        "system_fingerprint": "fp_pairsmith_stub",
    }


class Stub:
    """All that the server knows: its settings, and what it was asked."""

    def __init__(self, latency: float, key: str | None, faults: Faults) -> None:
        self.latency, self.key, self.faults, self.in_flight = latency, key, faults, 0
        self.changed_at = time.monotonic()
        self.reset()

    def reset(self) -> None:
        """Forget what was asked, and let faults that strike a number of first requests strike again."""
        self.asked: Counter[bytes] = Counter()
        self.by_model: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.errors_sent, self.max_in_flight = 0, self.in_flight
        self.last_body: Json | None = None
        self.last_headers: Headers = {}
        self.first_request_at: float | None = None
        self.last_reply_at: float | None = None
        self.seconds_at: defaultdict[int, float] = defaultdict(float)

    def count_in_flight(self, change: int) -> None:
        """One request more or less, and how long there were as many as before."""
        now = time.monotonic()
        if self.first_request_at is not None:
            self.seconds_at[self.in_flight] += now - self.changed_at
        elif change > 0:
            self.first_request_at = now
        self.changed_at = now
        self.in_flight += change
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if change < 0:
            self.last_reply_at = now

    def handle(self, method: str, path: str, headers: Headers, raw: bytes) -> Reply:
        match method, path.partition("?")[0]:
            case "POST", "/v1/chat/completions":
                return self.chat(headers, raw)
            case "GET", "/v1/models":
                models = [{"id": name, "object": "model", "created": 0, "owned_by": "stub"} for name in QUALITIES]
                return self.check_key(headers) or Reply(orjson.dumps({"object": "list", "data": models}))
            case "GET", "/stats":
                return Reply(orjson.dumps(self.stats()))
            case "POST", ("/reset" | "/faults" | "/latency") as control:
                return self.control(control, raw)
        return reply_error(404, f"Invalid URL ({method} {path})")

    def control(self, path: str, raw: bytes) -> Reply:
        """New faults replace the old ones whole, and count their first requests anew."""
        try:
            if path == "/faults":
                self.faults = Faults(**orjson.loads(raw))
                self.struck.clear()
            elif path == "/latency":
                self.latency = max(0.0, float(orjson.loads(raw)["seconds"]))
            else:
                self.reset()
        except (ValueError, TypeError, KeyError) as error:
            return reply_error(400, str(error))
        return Reply()

    def stats(self) -> Json:
        """What chat requests there were, refused ones included; only what was no JSON object is in `errors_sent` alone.

        `max_repeats` is how often the most asked request was asked: 1 where none was repeated. `errors_sent` counts
        HTTP errors and closed sockets. Header names are in lower case. Times are of the machine's monotonic clock;
        `seconds_at` says for how long, from the first request on, how many were in flight.
        """
        return {
            "requests": self.asked.total(),
            "distinct": len(self.asked),
            "max_repeats": max(self.asked.values(), default=0),
            "repeated": self.asked.total() - len(self.asked),
            "by_model": dict(self.by_model),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "errors_sent": self.errors_sent,
            "last": self.last_body,
            "headers": {name: value for name, value in self.last_headers.items() if name != "authorization"},
            "first_request_at": self.first_request_at,
            "last_reply_at": self.last_reply_at,
            "seconds_at": {str(level): seconds for level, seconds in sorted(self.seconds_at.items())},
            "cpu_s": time.process_time(),
        }

    def chat(self, headers: Headers, raw: bytes) -> Reply:
        """Count the request, then find its reply; `Connection.leave` takes it out of flight."""
        self.count_in_flight(1)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict):
            reply = self.chat_counted(headers, body)
        else:
            reply = reply_error(400, "We could not parse the JSON body of your request as an object.")
        self.errors_sent += reply.status >= 400 or reply.fate == "disconnect"
        reply.in_flight = True
        return reply

    def chat_counted(self, headers: Headers, body: Json) -> Reply:
        asked = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
        self.asked[asked] += 1
        self.by_model[str(body.get("model"))] += 1
        self.last_body, self.last_headers = body, headers
        reply = self.check_key(headers) or self.check_body(body) or self.fail(asked) or self.answer(body, asked)
        reply.delay = max(self.latency, self.faults.slow_seconds if self.strikes("slow", asked) else 0.0)
        return reply

    def check_key(self, headers: Headers) -> Reply | None:
        if self.key is None or headers.get("authorization") == f"Bearer {self.key}":
            return None
        return reply_error(401, "Incorrect API key provided.", "invalid_api_key")

    def check_body(self, body: Json) -> Reply | None:
        """Refuse what OpenAI refuses, and what this stub would otherwise answer wrongly."""
        model, messages = str(body.get("model")), body.get("messages")
        if model not in QUALITIES:
            message = f"The model `{model}` does not exist or you do not have access to it."
            return reply_error(404, message, "model_not_found")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            return reply_error(400, "'messages' must be a list of at least one message.")
        if body.get("n") not in (None, 1) or body.get("stream"):
            return reply_error(400, "This server knows only n = 1, without streaming.", "unsupported_value")
        if (length := sum(len(read_text(m)) for m in messages)) > self.faults.context_chars:
            message = (
                f"This model's maximum context length is {self.faults.context_chars // 4:.0f} tokens. However, your "
                f"messages resulted in {length // 4} tokens. Please reduce the length of the messages."
            )
            return reply_error(400, message, "context_length_exceeded")
        return None

    def strikes(self, fault: str, asked: bytes) -> bool:
        """Whether the fault happens to this request now. A call uses up one of the fault's first requests."""
        odds: float = getattr(self.faults, fault)
        times = self.asked[asked]
        if not odds or (self.faults.transient and times > 1):
            return False
        if isinstance(odds, float):
            return draw(fault, asked, times) < odds
        self.struck[fault] += 1
        return self.struck[fault] <= odds

    def fail(self, asked: bytes) -> Reply | None:
        """The faults that leave no answer; the first that strikes wins."""
        if self.strikes("disconnect", asked):
            return Reply(fate="disconnect")
        if self.strikes("hang", asked):
            return Reply(fate="hang")
        if self.strikes("rate_limited", asked):
            reply = reply_error(429, "Rate limit reached. Please try again later.", "rate_limit_exceeded", "requests")
            return replace(reply, headers=f"Retry-After: {self.faults.retry_after}\r\n")
        if self.strikes("server_error", asked):
            return reply_error(500, "The server had an error while processing your request.", None, "server_error")
        return None

    def answer(self, body: Json, asked: bytes) -> Reply:
        shown = [body["model"], body["messages"], body.get("seed"), body.get("temperature")]
        digest, reason = sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)).digest(), "stop"
        text = self.write_text(body, digest, asked)
        if text is None:
            return reply_error(400, "The last user message lacks <answer_1>...</answer_1> or <answer_2>...</answer_2>.")
        if self.strikes("empty", asked):
            text = ""
        elif self.strikes("refusal", asked):
            text = REFUSAL
        elif self.strikes("length", asked):
            text, reason = text[: len(text) // 2], "length"
        raw = orjson.dumps(build_completion(body, digest, text, reason))
        return Reply(raw[: len(raw) // 2] if self.strikes("broken_json", asked) else raw)

    def write_text(self, body: Json, digest: bytes, asked: bytes) -> str | None:
        """A verdict or an answer; None where a verdict in JSON is wanted about answers that are not there."""
        wanted = body.get("response_format")
        as_json = isinstance(wanted, dict) and wanted.get("type") == "json_schema"
        answers = find_answers(body["messages"]) if as_json or body["model"] == "judge" else []
        if not answers:
            # Without a schema the judge chats like any model, so that a "say hello" check of the connection works.
            return None if as_json else write_answer(body["model"], digest)
        if self.strikes("unreadable_verdict", asked):
            return UNREADABLE
        return write_verdict(answers, as_json, draw("bias", asked, 0) < self.faults.first_position_bias)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive. One request at a time, so that replies leave in order even when a client pipelines."""

    def __init__(self, stub: Stub) -> None:
        self.stub, self.buffer = stub, bytearray()
        self.line, self.headers = [""], Headers()  # the line as method, path and version
        self.start = self.end = 0  # of the body in the buffer; an end of 0: the head is still to come
        self.pending: Reply | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.advance()

    def connection_lost(self, error: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        self.leave()

    def leave(self) -> None:
        if self.pending is not None and self.pending.in_flight:
            self.stub.count_in_flight(-1)
        self.pending = self.timer = None

    def advance(self) -> None:
        while self.pending is None and not self.transport.is_closing() and self.read_request():
            raw = bytes(self.buffer[self.start : self.end])
            del self.buffer[: self.end]
            self.end = 0
            self.pending = self.respond(raw)
            if self.pending.delay and self.pending.fate != "hang":
                self.timer = asyncio.get_running_loop().call_later(self.pending.delay, self.finish_late)
            elif self.pending.fate != "hang":
                self.finish(self.pending)

    def read_request(self) -> bool:
        """Whether a whole request is in the buffer. A head is parsed once, however many packets its body takes."""
        if not self.end:
            if (found := self.buffer.find(b"\r\n\r\n")) < 0:
                return False
            line, *lines = self.buffer[:found].decode("latin-1").split("\r\n")
            pairs = (header.partition(":") for header in lines)
            self.line, self.headers = line.split(" "), {name.lower(): value.strip() for name, _, value in pairs}
            self.start, length = found + 4, self.headers.get("content-length", "0")
            self.end = self.start + (int(length) if length.isdecimal() else 0)
        return len(self.buffer) >= self.end

    def respond(self, raw: bytes) -> Reply:
        match self.line:
            case method, path, "HTTP/1.1" if "transfer-encoding" not in self.headers:
                return self.stub.handle(method, path, self.headers, raw)
        self.headers["connection"] = "close"  # who knows where the next request would begin
        return reply_error(400, "This server reads HTTP/1.1 with Content-Length.")

    def finish_late(self) -> None:
        self.finish(cast(Reply, self.pending))
        self.advance()

    def finish(self, reply: Reply) -> None:
        self.leave()
        if reply.fate == "disconnect":
            self.transport.close()
            return
        last = self.headers.get("connection", "").lower() == "close"
        head = f"HTTP/1.1 {reply.status} {http.client.responses[reply.status]}\r\nContent-Type: application/json\r\n"
        head += f"{reply.headers}Content-Length: {len(reply.body)}\r\nConnection: {'close' if last else 'keep-alive'}"
        self.transport.write(head.encode() + b"\r\n\r\n" + reply.body)
        if last:
            self.transport.close()


def exit_with_stdin() -> None:
    """End at once when stdin ends. In a thread, because no event loop can wait for a file or /dev/null."""
    while os.read(0, 4096):
        pass
    os._exit(0)


async def serve(stub: Stub, port: int) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, os._exit, 0)  # there is nothing to save
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, backlog=4096)
    print(f"ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="stub_server", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each chat reply")
    parser.add_argument("--key", help="refuse other keys with 401")
    parser.add_argument("--faults", type=Path, help="a JSON file with the fields of Faults")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    args = parser.parse_args()
    try:
        faults = Faults(**orjson.loads(args.faults.read_bytes())) if args.faults else Faults()
    except (OSError, ValueError, TypeError) as error:
        parser.error(f"--faults: {error}")
    if args.until_stdin_closes:
        threading.Thread(target=exit_with_stdin, daemon=True).start()
    asyncio.run(serve(Stub(args.latency, args.key, faults), args.port))


class StubServer:
    """A running stub, as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> Json:
        return self._ask("GET", "/stats")

    def reset(self) -> None:
        """Forget what was asked; the faults and the latency stay."""
        self._ask("POST", "/reset")

    def set_faults(self, faults: Mapping[str, object]) -> None:
        """Replace all faults; raises ValueError where there is no such fault."""
        self._ask("POST", "/faults", faults)

    def set_latency(self, seconds: float) -> None:
        self._ask("POST", "/latency", {"seconds": seconds})

    def _ask(self, method: str, path: str, body: object = None) -> Json:
        # Not urllib, which would ask the proxy that the environment names.
        with closing(http.client.HTTPConnection(self.url.split("/")[2], timeout=30)) as connection:
            connection.request(method, path, orjson.dumps(body))
            response = connection.getresponse()
            answer: Json = orjson.loads(response.read())
        if response.status != 200:
            raise ValueError(answer["error"]["message"])
        return answer


@contextmanager
def stub_server(latency: float = 0.0, key: str | None = None, faults: Mapping[str, object] | None = None) -> Iterator[StubServer]:
    """Run the server in a process of its own, which ends with the block, or with this process however that ends."""
    command = [sys.executable, "-m", "tests.harness.stub_server", "--until-stdin-closes", f"--latency={latency}"]
    command += [] if key is None else [f"--key={key}"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            stdout = cast(IO[str], process.stdout)
            line = stdout.readline() if select.select([stdout], [], [], 60)[0] else "nothing for 60 seconds"
            if not line.startswith("ready "):
                raise RuntimeError(f"the stub server did not start: it said {line!r} on stdout")
            server = StubServer(line.split()[1])
            server.set_faults(faults or {})
            yield server
        finally:
            process.kill()  # it has nothing to save


if __name__ == "__main__":
    main()
