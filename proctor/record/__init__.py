"""Results where instructors look: the graded notebook, the store, nbgrader's gradebook."""
