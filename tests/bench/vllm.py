"""What our way to a vLLM server costs beside a bare client of the openai package, and what a server costs.

    python -m tests.bench.vllm [--model FOLDER] [--small]

`ratio`: tokens a second through a model of a build (`engine: vllm`, with a fresh cache each time) over those of a bare asyncio
client of the openai package: one AsyncOpenAI, 64 in flight, the same prompts, the same server; medians of rounds that take
turns, after one round each that does not count. `start_s` is from nothing to the first reply of one token, `rss_gib` what all
processes of a server hold then (proportional set size: what they share counts once); `_two` for two servers at once.
`offline_ratio`, where vLLM is a GPU build: our tokens a second over vLLM's own batch (LLM.chat) on the same prompts.
Without --model: data/demo_models/demo-strong, or a model of 0.2M random weights.
"""

import asyncio
import statistics
import subprocess
import time
from pathlib import Path

from pipeline import ROOT
from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.engines import _vllm_command as command
from pipeline.engines._vllm_server import Server
from pipeline.engines.vllm import launch_of
from pipeline.model import Model, make_engine, settle
from pipeline.settings import BudgetSettings, ModelSettings, plugin_settings
from tests.bench.measure import Figures, arguments, folder_of_its_own, hand_over, read_prompts, say, write_prompts
from tests.harness.vllm import make_vllm_model, processes

IN_FLIGHT = 64
TOKENS = 64
SAMPLING = {"temperature": 0.7, "max_tokens": TOKENS, "seed": 1, "extra": {"ignore_eos": True}}

OFFLINE = """
import json, sys, time
from vllm import LLM, SamplingParams
model, prompts, tokens = sys.argv[1], [json.loads(line)["prompt"] for line in open(sys.argv[2])], int(sys.argv[3])
llm = LLM(model=model, gpu_memory_utilization=0.9, seed=0)
talks = [[{"role": "user", "content": p}] for p in prompts]
sampling = SamplingParams(temperature=0.7, max_tokens=tokens, seed=1, ignore_eos=True)
seconds = []
for _ in range(4):
    began = time.monotonic()
    llm.chat(talks, sampling, use_tqdm=False)
    seconds.append(time.monotonic() - began)
print(json.dumps(sorted(seconds[1:])[1]))
"""


def checked(model: Path, **fields: object) -> ModelSettings:
    raw = {"engine": "vllm", "model": str(model), "concurrency": IN_FLIGHT, "sampling": SAMPLING, **fields}
    return plugin_settings("engines", raw, "engine", "models.bench", ModelSettings)


async def ours(model: Path, prompts: list[str], cache: Path) -> float:
    """Seconds for all prompts, as a build asks them: through the cache, the budget and the engine."""
    with ReplyCache(cache) as replies:
        asked = Model("bench", checked(model), replies, Budget(BudgetSettings()))
        await asked.start()
        began = time.monotonic()
        came = await settle(asked.ask([{"role": "user", "content": p}]) for p in prompts)
        seconds = time.monotonic() - began
        await asked.close()
    assert sum(reply.completion_tokens for reply in came) == TOKENS * len(prompts)
    return seconds


async def bare(server: Server, model: Path, prompts: list[str]) -> float:
    """Seconds for the same, as a script would ask it."""
    import openai

    slots = asyncio.Semaphore(IN_FLIGHT)
    async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key) as client:

        async def ask(prompt: str) -> int:
            async with slots:
                reply = await client.chat.completions.create(
                    model=server.launch.model,
                    messages=[{"role": "user", "content": prompt}],
                    temperature=0.7,
                    max_tokens=TOKENS,
                    seed=1,
                    extra_body={"ignore_eos": True},
                )
                return reply.usage.completion_tokens if reply.usage else 0

        began = time.monotonic()
        tokens = await asyncio.gather(*(ask(p) for p in prompts))
        seconds = time.monotonic() - began
    assert sum(tokens) == TOKENS * len(prompts)
    return seconds


async def compare(model: Path, prompts: list[str], folder: Path, rounds: int) -> Figures:
    keeper = make_engine("keeper", checked(model))
    await keeper.start()
    server = Server.of(launch_of("bench", checked(model)))  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    try:
        for number in range(rounds + 1):
            for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
                took = await (ours(model, prompts, folder / f"{number}.sqlite") if side == "ours" else bare(server, model, prompts))
                say(f"round {number}, {side}: {TOKENS * len(prompts) / took:,.0f} tokens/s")
                seconds[side] += [took] if number else []
    finally:
        await keeper.close()
    middle = {side: TOKENS * len(prompts) / statistics.median(took) for side, took in seconds.items()}
    return {
        "ratio": round(middle["ours"] / middle["bare"], 3),
        "tokens_per_s": round(middle["ours"]),
        "bare_tokens_per_s": round(middle["bare"]),
        "ratio_by_round": [round(b / o, 2) for o, b in zip(seconds["ours"], seconds["bare"], strict=True)],
        "prompts": len(prompts),
        "rounds": rounds,
    }


async def start(model: Path, servers: int, folder: Path) -> tuple[float, float]:
    """Seconds until every one of so many servers has given a first reply, and the GiB that they hold."""
    with ReplyCache(folder / f"start-{servers}.sqlite") as cache:
        one_token = {**SAMPLING, "max_tokens": 1}
        # The server's seed makes them different servers of the same model.
        models = [
            Model(f"bench-{n}", checked(model, seed=n, revision=str(n), sampling=one_token), cache, Budget(BudgetSettings()))
            for n in range(servers)
        ]
        began = time.monotonic()
        await asyncio.gather(*(m.start() for m in models))
        for number, asked in enumerate(models):
            await asked.ask([{"role": "user", "content": f"hello {number}"}])
        seconds = time.monotonic() - began
        held = sum(p.mib for p in processes(f"--model {model}")) / 1024
        for asked in models:
            await asked.close()
    say(f"{servers} server(s): {seconds:.1f} s, {held:.2f} GiB")
    return round(seconds, 1), round(held, 2)


def offline(model: Path, prompts: Path, count: int) -> Figures:
    """vLLM's own batch on a GPU; None where it is the CPU build, whose path is the same with less to gain."""
    python = command.interpreter()
    if command.is_cpu_build(python):
        return {"offline_tokens_per_s": None}
    done = subprocess.run([str(python), "-c", OFFLINE, str(model), str(prompts), str(TOKENS)], capture_output=True, text=True, check=True)
    return {"offline_tokens_per_s": round(TOKENS * count / float(done.stdout.splitlines()[-1]))}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, help="a folder with a chat model")
    args = parser.parse_args()
    demo = ROOT / "data" / "demo_models" / "demo-strong"
    count, rounds = (128, 2) if args.small else (768, 5)
    with folder_of_its_own() as folder:
        model = (args.model or (demo if demo.is_dir() else make_vllm_model(folder / "model"))).resolve()
        write_prompts(folder / "prompts.jsonl", count)
        prompts = read_prompts(folder / "prompts.jsonl")
        one, held = asyncio.run(start(model, 1, folder))
        two, both = asyncio.run(start(model, 2, folder))
        figures = asyncio.run(compare(model, prompts, folder, rounds)) | offline(model, folder / "prompts.jsonl", count)
        batch = figures["offline_tokens_per_s"]
        figures["offline_ratio"] = round(figures["tokens_per_s"] / batch, 3) if batch else None
        figures |= {"start_s": one, "rss_gib": held, "start_two_s": two, "rss_two_gib": both}
        hand_over(
            {**figures, "model": model.name, "weights_mib": round(sum(f.stat().st_size for f in model.glob("*.safetensors")) / 2**20, 1)}
        )


if __name__ == "__main__":
    main()
