"""The student's side: a look at one's own notebook."""
