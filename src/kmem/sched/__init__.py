"""Tasks, the CPUs that run them, and simulated time: the scheduler of the simulated kernel."""
