"""``kmem quiz``: questions about memory whose answers are found by doing it, on a machine booted for the purpose.

A question is a function of a `kmem.quiz.room.Room` (booted machines) and a `random.Random` (which makes its numbers).
It makes the experiment and returns a `kmem.quiz.question.Question`, whose answer is what came out. Nothing here knows
an answer.
"""
