"""The page of feedback: what a student reads of a graded notebook."""
