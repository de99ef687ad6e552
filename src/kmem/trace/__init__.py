"""Traces: one schema for what a simulated run emits and what a real kernel recorded; reading, writing, replaying."""
