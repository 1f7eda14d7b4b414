"""An .ipynb as data: parsed and bounded, restored against the instructor's, made harmless."""
