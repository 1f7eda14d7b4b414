"""What one section lacks costs its own points, not those of the others."""

from __future__ import annotations

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
SECTIONS = [(name, section) for name, sections in OWN.items() for section in sections]
BROKEN = {
    "left blank": lambda stub: stub,
    "does not compile": lambda stub: stub.replace("raise", "raise)", 1),
    "is empty": lambda stub: "",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Result]]:
    """By assignment: a reference each, with one section broken in one way."""
    found = {}
    for name, sections in OWN.items():
        course = classroom.scratch_course(tmp_path_factory.mktemp("course"))
        [released] = classroom.blank(name).values()
        stubs = {cell["id"]: classroom.text_of(cell) for cell in released["cells"]}
        students = []
        for section in sections:
            for how, broken in BROKEN.items():
                students.append(f"{section} {how}")
                made = classroom.Solution(
                    students[-1], "", False, {section: broken(stubs[section])}
                )
                classroom.submit(course, students[-1], name, classroom.solved(name, made))
        found[name] = classroom.grade(course.assignment(name), students)
    return found


@pytest.mark.parametrize("name", OWN)
def test_every_section_is_looked_at(name: str) -> None:
    [book] = notebooks(name)
    sections = [cell.id for cell in book.cells if cell.is_solution and not cell.is_graded]
    assert sections == list(OWN[name])


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(("name", "section"), SECTIONS)
def test_a_broken_section_costs_its_own(
    results: dict[str, dict[str, Result]], name: str, section: str, how: str
) -> None:
    result = results[name][f"{section} {how}"]
    lost = {t.cell for t in result.tests if t.status == "failed" and t.name != t.cell}
    assert lost and lost <= OWN[name][section] | {"Whole"}
