"""The untrusted side: runs the student's cells, jailed."""
