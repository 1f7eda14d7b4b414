"""Warm processes that fork, and the frames that cross the boundary."""
