"""The trusted side: runs checks and hidden suite, and decides."""
