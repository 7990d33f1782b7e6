"""How often the encoder is compiled, that it is compiled as a whole, and where the kernels are kept."""

import argparse
import os
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from selfsv.engine import runtime as runtimes
from selfsv.engine.compilation import KERNELS, OWN_KERNELS, compile_forward, obstacle
from selfsv.engine.runtime import add_arguments, runtime_from
from selfsv.models.ecapa import EcapaTdnn
from selfsv.models.encoders import untrained
from selfsv.settings.encoder import EncoderSettings

ENCODER = EncoderSettings(channels=8, dilations=(2,), mfa_channels=12, bottleneck=4, embedding=6, embedding_batchnorm=False)
LONG, SHORT = 40, 30
BATCHES = (4, 3, 4, 5)  # an epoch's sizes differ by one, the next epoch's, and the parts of several processes', by more


@pytest.fixture
def graphs() -> CompileCounterWithBackend:
    """Counts what is compiled."""
    torch._dynamo.reset()
    counters.clear()
    return CompileCounterWithBackend("eager")


def encoder() -> EcapaTdnn:
    return untrained(ENCODER, 80, 1, 0)


def pretraining_steps(student: nn.Module, teacher: nn.Module, batches: tuple[int, ...] = BATCHES) -> None:
    """The encoder's calls in a few steps of CA-DINO."""
    for batch in batches:
        long = torch.randn(2 * batch, LONG, 80)
        with torch.no_grad():
            teacher(long)
        (student(long).sum() + student(torch.randn(4 * batch, SHORT, 80)).sum()).backward()


def compiled_pair(graphs: CompileCounterWithBackend) -> tuple[nn.Module, nn.Module]:
    student = encoder()
    teacher = deepcopy(student).requires_grad_(False)
    for module in (student, teacher):
        compile_forward(module, graphs)
    return student, teacher


def test_pretraining_compiles_three_graphs_and_breaks_none(graphs):
    student, teacher = compiled_pair(graphs)
    pretraining_steps(student, teacher)
    assert graphs.frame_count == 3  # the student on long and on short crops, the teacher on long ones
    assert not counters["graph_break"]


def test_whole_utterances_of_any_length_share_a_graph(graphs):
    """Clustering extracts with the teacher in the midst of training: the training's graphs must survive that."""
    student, teacher = compiled_pair(graphs)
    pretraining_steps(student, teacher, (4,))
    teacher.eval()
    with torch.inference_mode():
        for batch, frames in ((3, 50), (4, 61), (2, 75), (5, 98), (7, 120), (3, 133), (6, 140), (2, 155), (3, 160)):
            teacher(torch.randn(batch, frames, 80), torch.randint(10, frames, (batch,)))
    teacher.train()
    assert graphs.frame_count == 4
    pretraining_steps(student, teacher)
    assert graphs.frame_count == 4
    assert not counters["graph_break"]


def test_a_round_compiles_two_graphs(graphs):
    network = encoder()
    compile_forward(network, graphs)
    for batch in BATCHES:
        features = torch.randn(batch, SHORT, 80)
        with torch.no_grad():
            network(features)
        network(features).sum().backward()
    assert graphs.frame_count == 2
    assert not counters["graph_break"]


def test_a_compiled_encoder_computes_the_same_and_is_saved_alike(graphs):
    plain, features = encoder(), torch.randn(3, SHORT, 80)
    compiled = deepcopy(plain)
    compile_forward(compiled, graphs)
    torch.testing.assert_close(compiled(features), plain(features))
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    lengths = torch.tensor([30, 20, 11])
    torch.testing.assert_close(compiled.eval()(features, lengths), plain.eval()(features, lengths))


def runtime(options: list[str], **more: object):
    made = argparse.ArgumentParser()
    add_arguments(made)
    return runtime_from(argparse.Namespace(**vars(made.parse_args(options)), **more))


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A machine that has a GPU, as far as the options see; and its environment left as it was."""
    for name in (KERNELS, OWN_KERNELS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(runtimes, "obstacle", lambda _: "")


@pytest.mark.parametrize(
    ("device", "asked", "compiles"),
    [
        ("cuda", "auto", True),
        ("cpu", "auto", False),
        ("cuda", "false", False),
        ("cpu", "false", False),
        ("cuda", "true", True),
        ("cpu", "true", True),
    ],
)
def test_auto_compiles_on_a_gpu_alone(pretended_gpu, tmp_path, device, asked, compiles):
    assert runtime(["--device", device, "--compile", asked], state=tmp_path).compile == compiles


@pytest.mark.parametrize(("precision", "native", "bfloat16"), [("auto", True, True), ("auto", False, False), ("bfloat16", False, True)])
def test_a_gpu_that_emulates_bfloat16_is_not_given_it_unasked(pretended_gpu, monkeypatch, precision, native, bfloat16):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert runtime(["--device", "cuda", "--precision", precision]).bfloat16 == bfloat16


@pytest.mark.parametrize(("asked", "compiles"), [("auto", False), ("true", True)])
@pytest.mark.parametrize("trains", [True, False])
def test_where_nothing_can_be_compiled_auto_goes_without_and_a_training_says_so(
    pretended_gpu, monkeypatch, caplog, tmp_path, asked, compiles, trains
):
    monkeypatch.setattr(runtimes, "obstacle", lambda _: "no C compiler")
    state = {"state": tmp_path} if trains else {}
    assert runtime(["--device", "cuda", "--compile", asked], **state).compile == compiles
    assert ("not compiled" in caplog.text and "no C compiler" in caplog.text) == (trains and not compiles)


def test_a_missing_compiler_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setenv(KERNELS, str(tmp_path))  # no kernel of an earlier test
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.cxx": ("/nowhere/c++",)}):
        assert "/nowhere/c++" in obstacle(torch.device("cpu"))
    torch._dynamo.reset()
    assert obstacle(torch.device("cpu")) == ""


def test_kernels_are_kept_beside_the_state(pretended_gpu, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runtime(["--device", "cuda", "--compile", "auto"], state=Path("state"))
    assert os.environ[KERNELS] == str(tmp_path / "state" / "compiled")
    assert os.environ[OWN_KERNELS] == str(tmp_path / "state" / "compiled" / "triton")


def test_a_place_that_the_user_names_is_left(pretended_gpu, tmp_path, monkeypatch):
    monkeypatch.setenv(KERNELS, "elsewhere")
    runtime(["--device", "cuda", "--compile", "auto"], state=tmp_path)
    assert os.environ[KERNELS] == "elsewhere"
