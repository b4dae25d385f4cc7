"""The search: objectives, starts, solvers, and the engine that runs many restarts."""
