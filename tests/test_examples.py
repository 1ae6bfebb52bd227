"""The examples run as they stand."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_your_own_method_is_clip_with_a_margin():
    example = runpy.run_path(str(EXAMPLES / "your_own_method.py"))
    own = example["MarginCLIP"].__new__(example["MarginCLIP"])
    torch.nn.Module.__init__(own)
    own.config = example["MarginConfig"](margin=0.3)
    own.model = torch.nn.Module()
    own.model.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
    u_BD, v_BD = (torch.nn.functional.normalize(torch.randn(7, 5), dim=-1) for _ in range(2))
    logits = own.model.logit_scale.exp() * (u_BD @ v_BD.T - 0.3 * torch.eye(7))
    both = [torch.nn.functional.cross_entropy(x, torch.arange(7)) for x in (logits, logits.T)]
    torch.testing.assert_close(own.loss({"image": u_BD, "text": v_BD}, {})["loss"], sum(both) / 2)


@pytest.mark.slow
def test_train_in_python(tmp_path):
    command = [sys.executable, str(EXAMPLES / "train_in_python.py"), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "macro AUROC" in said
