"""What one section lacks costs its own points, not those of the others."""

from __future__ import annotations

import itertools

import pytest

from proctor.verdict import Result
from tests import classroom
from tests.course.notebooks import notebooks

# The hidden classes that may lose points for a section; Whole may for each.
OWN: dict[str, dict[str, set[str]]] = {}
OWN["01_tensor"] = {
    "as_array": {"Construct"},
    "tensor": {"Construct", "Derived"},
    "arithmetic": {"Arithmetic"},
    "derived": {"Derived"},
    "reflected": {"Reflected", "Derived"},
    "matmul": {"Matmul"},
    "elementwise": {"Elementwise"},
    "reductions": {"Reductions", "Derived"},
    "shapes": {"Shapes"},
    "shares": {"Puzzles"},
    "distances": {"Puzzles"},
    "network": set(),
    "standardise": set(),
}
OWN["02_activations"] = {
    "relu": {"Relu"},
    "clamp": {"Clamp"},
    "sigmoid": {"Sigmoid"},
    "tanh": {"Tanh"},
    "gelu": {"Gelu"},
    "softmax": {"Softmax"},
    "breaks_it": {"Bug"},
    "log_softmax": {"LogSoftmax"},
    "network": set(),
}
OWN["03_layers"] = {
    "contents": {"Traversal", "SharedOnce", "Mode", "Bug"},  # half of the first three
    "parameters": {"Traversal", "SharedOnce"},
    "train": {"Mode", "Bug"},
    "linear": {"Linear", "Init"},
    "forward": {"Linear"},
    "dropout": {"Dropout", "Bug"},
    "sequential": {"Sequential", "Bug", "Residual"},  # a Residual is a Sequential
    "breaks_it": {"Bug"},
    "residual": {"Residual"},
}
OWN["04_losses"] = {
    "mse": {"Mse"},
    "breaks_it": {"Bug"},
    "cross_entropy": {"CrossEntropy", "Stable"},
    "binary_cross_entropy": {"Bce"},
    "from_logits": {"FromLogits"},
    "nudge": {"Nudge"},
    "descend": {"Descend"},
}
OWN["06_optimizers"] = {
    "step": {"Step"},
    "sgd": {"Sgd"},
    "adam": {"Adam"},
    "adamw": {"AdamW"},
    "breaks_it": {"Bug"},
    "velocity": {"Velocity"},
    "schedule": {"Schedule"},
}
OWN["07_training"] = {
    "by_hand": {"ByHand"},
    "clip": {"Clip"},
    "fit": {"Fit"},
    "breaks_it": {"Bug"},
    "evaluate": {"Evaluate"},
    "pack": {"Resume", "Safe"},  # a checkpoint is made of three pieces
    "save": {"Resume", "Safe"},
    "load": {"Resume", "Safe"},
}
OWN["08_dataloader"] = {
    "tensor_dataset": {"TensorDataset"},
    "subset": {"Subset"},
    "balanced": {"Balanced"},
    "collate": {"Collate"},
    "loader": {"Order", "Again"},
    "breaks_it": {"Bug"},
}
OWN["10_tokenization"] = {
    "char": {"Char"},
    "count_pairs": {"Pairs"},
    "merge": {"Merge"},
    "train": {"Train"},
    "encode": {"Encode"},
    "decode": {"Encode"},
    "one_token": {"OneToken"},
    "breaks_it": {"Bug"},
}
OWN["09_spatial"] = {
    "loops": {"Loops"},
    "kernels": {"Kernels"},
    "windows": {"Windows", "Adjoint", "Milestone"},
    "windows_vjp": {"Adjoint"},
    "conv": {"Init", "Conv", "Milestone"},  # the network of the milestone has all layers
    "forward": {"Conv", "Milestone"},
    "pools": {"Pool", "Milestone"},
    "flatten": {"Flatten", "Milestone"},
    "breaks_it": {"Bug"},
    "norm": {"BatchNorm", "Milestone"},
    "moved": {"Moved"},
    "net": {"Milestone"},
}
OWN["13_transformers"] = {  # what was trained is asked through the whole model
    "layer_norm": {"LayerNorm", "Names", "Addition"},
    "block": {"Block", "Names", "Addition"},
    "gpt": {"Gpt", "Names", "Addition"},
    "generate": {"Generate", "Addition"},
    "loss": {"Loss"},
    "bigrams": {"Bigrams"},
    "parrot": {"Bug"},
}
OWN["11_embeddings"] = {
    "embedding": {"Embedding"},
    "one_hot": {"OneHot"},
    "table_gradient": {"TableGradient"},
    "sinusoidal": {"Sinusoidal"},
    "turn": {"Turn"},
    "breaks_it": {"Bug"},
    "positional": {"Positional"},
}
OWN["12_attention"] = {
    "attention": {"Attention"},
    "mask": {"Mask"},
    "breaks_it": {"Bug"},
    "look_back": {"LookBack"},
    "split": {"Heads"},
    "multi_head": {"MultiHead"},
}
OWN["17_quantization"] = {
    "quantize": {"Quantize"},
    "dequantize": {"Dequantize"},
    "breaks_it": {"Bug"},
    "pack": {"Pack"},
    "quantized_linear": {"QuantizedLinear"},
    "quantize_model": {"Model"},
}
OWN["18_compression"] = {
    "prune": {"Prune"},
    "breaks_it": {"Bug"},
    "prune_model": {"Hold"},
    "low_rank": {"LowRank"},
    "rank_for": {"RankFor"},
    "loss": {"Loss"},
    "distill": {"Distill"},
}
BROKEN = {
    "left blank": lambda stub: stub,
    "does not compile": lambda stub: stub.replace("raise", "raise)", 1),
    "is empty": lambda stub: "",
}
# Each section in one of these ways, in turn: grading them all takes three times as long.
OWN["14_kvcaching"] = {
    "multiply_adds": {"MultiplyAdds"},
    "cache": {"Cache"},
    "late_mask": {"LateMask"},
    "attention": {"Attention", "Generate", "Enable"},  # a point each: without a cache; by name
    "model": {"Model", "Generate", "Enable"},  # the upgrade needs the name
    "enable": {"Enable", "Generate"},
    "breaks_it": {"Bug"},
    "generate": {"Generate"},
}
OWN["15_profiling"] = {
    "count_parameters": {"CountParameters"},
    "telling": {"Telling"},
    "watch": {"Watch"},
    "count_flops": {"CountFlops"},
    "breaks_it": {"Bug"},
    "profile": {"Profile"},
    "culprit": {"Culprit"},
    "quick_gelu": {"QuickGelu"},
    "count_pages": {"CountPages"},
}
SECTIONS = [
    (name, section, how)
    for (name, section), how in zip(
        [(name, section) for name, sections in OWN.items() for section in sections],
        itertools.cycle(BROKEN),
        strict=False,
    )
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Result]]:
    """By assignment and section: a reference with that section broken in one way."""
    found = {}
    for name in OWN:
        course = classroom.scratch_course(tmp_path_factory.mktemp("course"))
        released = [cell for each in classroom.blank(name).values() for cell in each["cells"]]
        stubs = {cell["id"]: classroom.text_of(cell) for cell in released}
        students = []
        for section, how in [(section, how) for of, section, how in SECTIONS if of == name]:
            students.append(section)
            broken = {section: BROKEN[how](stubs[section])}
            made = classroom.Solution(section, how, False, broken)
            classroom.submit(course, section, name, classroom.solved(name, made))
        found[name] = classroom.grade(course.assignment(name), students)
    return found


@pytest.mark.parametrize("name", OWN)
def test_every_section_is_looked_at(name: str) -> None:
    found = [cell for book in notebooks(name) for cell in book.cells]
    sections = [cell.id for cell in found if cell.is_solution and not cell.is_graded]
    assert sections == list(OWN[name])


@pytest.mark.parametrize(("name", "section", "how"), SECTIONS)
def test_a_broken_section_costs_its_own(
    results: dict[str, dict[str, Result]], name: str, section: str, how: str
) -> None:
    result = results[name][section]
    lost = {t.cell for t in result.tests if t.status == "failed" and t.name != t.cell}
    assert lost and lost <= OWN[name][section] | {"Whole"}
