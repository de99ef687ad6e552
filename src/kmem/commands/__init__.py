"""The subcommands of ``kmem``, one file each.

Each has ``parser()``, the options and nothing else, and ``main(words)``, which returns the exit status. No file is
imported before its name was typed, and none imports anything heavy at its top.
"""
