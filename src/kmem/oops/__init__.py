"""Crash logs explained from their text alone: `parse` finds the reports, `decode` reads their machine code and
registers, `rules` say what each fact means, `explain` weighs them into one verdict.

Nothing here imports NumPy, Numba or Unicorn; Capstone is loaded only when a ``Code:`` line is decoded.
"""
