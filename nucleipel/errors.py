"""The errors that a user can cause and mend.

Every message says where, what was found, what was expected and the fix, in
one line: the command line prints it as it stands and exits with 1. Anything
else that is raised is a bug and keeps its traceback.
"""


class NucleipelError(Exception):
    """Root of all errors that the user can mend."""


class ArgumentError(NucleipelError, ValueError):
    """An argument of a function of the Python API is not what it should be."""


class MissingPackageError(NucleipelError, ImportError):
    """A package that only this function needs is not installed."""


class ConfigError(NucleipelError, ValueError):
    """A configuration file or `--set` is wrong."""


class ManifestError(NucleipelError, ValueError):
    """A manifest, or a row of it, is wrong."""


class ImageError(NucleipelError, OSError):
    """An image or an annotation cannot be read as what it should be."""


class StoreError(NucleipelError, OSError):
    """A patch or prediction store is incomplete, damaged or does not fit."""


class CheckpointError(NucleipelError, ValueError):
    """A checkpoint is damaged, unsafe or does not fit."""


class OutputError(NucleipelError, OSError):
    """An output path cannot be used."""


class ResourceError(NucleipelError, RuntimeError):
    """The machine has too little disk or memory for what is to be done."""


class TrainingError(NucleipelError, RuntimeError):
    """Training cannot go on (a loss that is not finite, say)."""


class PredictionError(NucleipelError, RuntimeError):
    """A network gave no usable probabilities, or its device is not there."""


class ClusterError(NucleipelError, RuntimeError):
    """Workers cannot be had, or do not come."""


class SubmitError(NucleipelError, RuntimeError):
    """The scheduler refused a job, or is not there."""
