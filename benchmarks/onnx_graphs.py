"""The ONNX graphs that `dermis publish --onnx` writes against torch, one thread each: ratios within one run.

    python benchmarks/onnx_graphs.py [--size 224] [--rounds 5] [--weights vit_small_patch14_dinov2.safetensors]

Towers: DINOv2's ViT-S/14 (random weights unless given) and ResNet-50. Time is the process's CPU time, median of the
rounds, the two taking turns; ratio: torch's over onnxruntime's, above 1 the graph is faster. Needs the extra `export`.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from measuring import medians

from dermis.publish.graphs import ImageGraph
from dermis.publish.onnx_export import write_graphs
from dermis.towers.build import ImageTowerConfig, build_image_tower


def measure(name: str, weights: str | None, size: int, rounds: int) -> None:
    config = ImageTowerConfig(name=name, size=size, weights=weights)
    tower = build_image_tower(config, pretrained=weights is not None).eval()
    with tempfile.TemporaryDirectory() as folder:
        graphs, _ = write_graphs(tower, Path(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = str(Path(folder) / "image.onnx")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = ImageGraph(tower, None)
    for batch in (1, 16):
        image_BCHW = torch.randn(batch, 3, size, size)
        given = {"image": image_BCHW.numpy()}
        ways = {"torch": partial(graph, image_BCHW), "onnxruntime": partial(session.run, None, given)}
        with torch.inference_mode():
            took = medians(ways, rounds)
        torch_s, onnx_s = took["torch"], took["onnxruntime"]
        print(
            f"{name:<28} {size} px  batch {batch:>2}  torch {1e3 * torch_s / batch:7.1f} ms/picture  "
            f"onnxruntime {1e3 * onnx_s / batch:7.1f}  ratio {torch_s / onnx_s:.2f}  "
            f"(differs by {graphs[0].relative:.1e} of the largest value)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", help="a .safetensors file of vit_small_patch14_dinov2")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, one thread each, {asked.rounds} rounds")
    measure("vit_small_patch14_dinov2", asked.weights, asked.size, asked.rounds)
    measure("resnet50", None, asked.size, asked.rounds)


if __name__ == "__main__":
    main()
