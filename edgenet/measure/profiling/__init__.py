"""Where the time goes: each engine's own profiler, in the names of Keras layers."""
