"""The version of Limner that runs."""

from importlib.metadata import version

__version__ = version("limner")
