"""The course: its settings, its assignments, what was released, what may be imported."""
