"""Texts with remembered keys and values, or read anew for each token: ``python benchmarks/generation.py``

Both say the same tokens, which is asserted; the end is barred, so that every text has its full length. Weights are
random: a search does not care. One thread, CPU time of this process, best of the rounds, the versions taking turns.
"""

import argparse
import time

import torch

from dermis.towers.generation import generate, remembering, rereading
from dermis.towers.generator import Generator

SIZES = {
    "tiny": {"vocabulary": 1000, "width": 64, "layers": 2, "heads": 4, "feedforward": 256},
    "6 x 768": {"vocabulary": 21_128, "width": 768, "layers": 6, "heads": 12, "feedforward": 3072},
}
"""the larger one is half of M2CG's decoder"""


def opinionated(size: str) -> Generator:
    """Fresh weights say nearly the same about every token, so that rounding would choose between them."""
    torch.manual_seed(0)
    generator = Generator(**SIZES[size], max_tokens=60, pad=0, start=1, end=2).eval()
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    torch.nn.init.normal_(generator.token.weight, std=6 * SIZES[size]["width"] ** -0.5)
    return generator


def seconds(generator: Generator, memory_BMD: torch.Tensor, steps, **settings) -> tuple[float, list[list[int]]]:
    start = time.process_time()
    said = generate(generator, memory_BMD, min_tokens=settings["max_tokens"], steps=steps, **settings)
    return time.process_time() - start, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--memory", type=int, default=149, help="places: 7 x 7 patches and 100 tokens")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'generator':12}{'strategy':12}{'remembered':>16}{'read anew':>16}{'ratio':>8}")
    for size in arguments.sizes:
        generator = opinionated(size)
        memory_BMD = torch.randn(arguments.cases, arguments.memory, SIZES[size]["width"])
        for strategy in ("greedy", "nucleus", "beam"):
            best = {remembering: float("inf"), rereading: float("inf")}
            for _ in range(arguments.rounds):
                said = []
                for steps in best:
                    settings = {"strategy": strategy, "beams": 4, "max_tokens": arguments.tokens}
                    taken, texts = seconds(generator, memory_BMD, steps, **settings)
                    best[steps] = min(best[steps], taken)
                    said.append(texts)
                assert said[0] == said[1]
            rates = [arguments.cases * arguments.tokens / best[steps] for steps in best]
            print(f"{size:12}{strategy:12}{rates[0]:10.1f} tok/s{rates[1]:10.1f} tok/s{rates[0] / rates[1]:7.1f}x")


if __name__ == "__main__":
    main()
