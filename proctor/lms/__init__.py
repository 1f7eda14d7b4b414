"""Learning management systems: what they give, and what they take."""
