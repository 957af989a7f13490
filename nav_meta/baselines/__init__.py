"""Rivals of a trained agent: exact optima where they can be computed, and the algorithms that the papers use."""
