"""A cache that lives in PostgreSQL: this module is the list of its public names and nothing else."""

__version__ = "0.1.0"
