"""Data structures in simulated RAM and the one place that compiles: typed pointers, lists, trees, bit operations."""
