"""The model that a training leaves: its config, its weights, sampling from it, and the models that ship with Limner."""
