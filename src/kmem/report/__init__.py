"""What a run or a comparison found, in a form to read: one value in, one format out. Nothing here computes results."""
