"""``kmem quiz``: questions about kernel memory; the answers come from the simulated kernel, at that moment."""

from __future__ import annotations

import argparse
import json
import sys

from kmem.commands import options


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem quiz``."""
    result = options.new_parser(
        "quiz",
        "Ask about kernel memory. Each answer is found by doing it on a simulated kernel, and explained. "
        "Answers are read from "
        "standard input, a line each: a letter, a number, a name; nothing skips a question.",
    )
    result.add_argument("--seed", type=int, default=0, metavar="N", help="which questions (default: 0)")
    result.add_argument("-n", type=options.count, default=5, metavar="N", help="how many (default: 5)")
    result.add_argument(
        "-c", "--answers", action="store_true", help="print the questions with their answers; ask nothing"
    )
    result.add_argument("--release", choices=options.releases(), default=options.RELEASE, help="kernel that is asked")
    result.add_argument(
        "--json", action="store_true", help="print one JSON object with questions and answers; ask nothing"
    )
    return result


def main(words: list[str]) -> int:
    """Ask, check, explain."""
    args = parser().parse_args(words)
    from dataclasses import asdict

    from kmem.quiz.ask import questions
    from kmem.report.quiz import answer_text, question_text, verdict_text

    asked = questions(args.seed, args.n, args.release)
    if args.json:
        rows = [{**asdict(question), "letter": question.letter} for question in asked]
        print(json.dumps({"seed": args.seed, "release": args.release, "questions": rows}, indent=1))
        return 0
    right = 0
    for number, question in enumerate(asked, 1):
        print(question_text(number, len(asked), question))
        if not args.answers:
            print("> ", end="", flush=True)
            given = sys.stdin.readline()
            if not sys.stdin.isatty():
                print(given.strip())
            right += question.accepts(given)
            print(verdict_text(question, given))
        print(answer_text(question))
    if not args.answers:
        print(f"{right} of {len(asked)} right")
    print(f"next: kmem quiz --seed {args.seed + 1}" + (" -c" if args.answers else ""))
    return 0
