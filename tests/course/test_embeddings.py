"""11 by other means: finite differences, NumPy, and whether what the notebook says is so."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import ROOT
from tests.course.running import Run, run_of

said = run_of("11_embeddings", "neighbours")


@pytest.fixture(autouse=True)
def gradients(said: object) -> None:
    tt.enable_gradients()


@pytest.mark.parametrize(
    "ids", [[1, 1, 4], [[0, 2], [2, 2]], np.array([[[3]]]), np.zeros((2, 0), int)], ids=str
)
def test_an_embedding_passes_finite_differences(ids: object) -> None:
    def rows(weight: tt.Tensor) -> tt.Tensor:
        layer = tt.Embedding(5, 3)
        layer.weight = weight
        return layer(ids)

    assert tt.gradcheck(rows, np.random.default_rng(0).normal(size=(5, 3)))


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 1, 3), (3, 2, 3)], ids=str)
def test_places_pass_finite_differences(shape: tuple[int, ...]) -> None:
    def added(weight: tt.Tensor, x: tt.Tensor) -> tt.Tensor:
        layer = tt.PositionalEmbedding(4, 3)
        layer.weight = weight
        return layer(x)

    rng = np.random.default_rng(0)
    assert tt.gradcheck(added, rng.normal(size=(4, 3)), rng.normal(size=shape))


def test_rows_begin_with_a_length_of_about_one() -> None:
    for layer in (tt.Embedding, tt.PositionalEmbedding):
        rows = layer(500, 64, np.random.default_rng(0)).weight.data
        assert rows.dtype == np.float32
        assert abs(np.linalg.norm(rows, axis=1).mean() - 1) < 0.05


def test_the_error_says_how_many_places_there_are() -> None:
    with pytest.raises(ValueError, match="7 places, but only 4 have a row"):
        tt.PositionalEmbedding(4, 2)(tt.Tensor(np.zeros((1, 7, 2))))


def test_picking_is_a_product_and_so_is_its_gradient(said: Run) -> None:
    names, rng = said[0], np.random.default_rng(0)
    layer, ids, g = tt.Embedding(9, 4, rng), rng.integers(0, 9, (5, 6)), rng.normal(size=(5, 6, 4))
    layer.weight.requires_grad = True
    rows = layer(ids)
    assert np.allclose(names["one_hot"](ids, 9) @ layer.weight.data, rows.data)
    (rows * g).sum().backward()
    assert np.allclose(layer.weight.grad, names["table_gradient"](ids, g, 9), atol=1e-5)


def test_one_matrix_walks_everywhere(said: Run) -> None:
    waves = tt.sinusoidal_positions(300, 16)
    for k in (1, 17, 200):
        assert np.allclose(waves[:-k] @ said[0]["turn"](k, 16), waves[k:], atol=1e-4)


def test_what_the_cells_print(said: Run) -> None:
    printed = said[1]
    assert printed["rows"].startswith("2 of 1,000")
    assert printed["waves"].startswith("[21, 28, 60]")
    assert "163,840,000 products, of which 16,384" in printed["picking"]


def test_the_rubric_is_right(said: Run) -> None:
    """Without gelu the order is lost, with it, or side by side, it is not."""
    model = said[0]["Gap"](6, 2, 8, np.random.default_rng(0))

    def without(ids: list[list[int]]) -> np.ndarray:
        return model.out(model.place(model.token(ids)).mean(axis=1)).data

    assert np.allclose(without([[1, 4]]), without([[4, 1]]), atol=1e-6)
    assert not np.allclose(model([[1, 4]]).data, model([[4, 1]]).data, atol=1e-3)


def test_the_plays_put_she_beside_he(said: Run) -> None:
    """In half of the notebook's steps."""
    names = said[0]
    words, text = names["read_plays"](str(ROOT / "source/11_embeddings/plays.txt"))
    reader, _ = names["train_reader"](text, len(words), 250)
    near = {
        word: {each.split()[0] for each in names["neighbours"](reader, words, word)}
        for word in ("she", "him", "will", "my")
    }
    assert "he" in near["she"]
    assert near["him"] & {"me", "them", "us", "thee"}
    assert near["will"] & {"would", "must", "shall", "can", "may"}
    assert near["my"] & {"thy", "your", "his"}
