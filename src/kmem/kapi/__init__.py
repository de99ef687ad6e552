"""The exported kernel functions, by subsystem.

`kmem.kapi.export` has the registry, `kmem.kapi.host` what a handler may use.
"""
