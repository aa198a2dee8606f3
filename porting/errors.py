"""Everything that a user can get wrong; a bug in this package raises something else.

PortingError
  + UsageError
  + ConfigError
  + ProfileError
  + CheckpointError
  + KernelError
  + ProgramError
  + ExportError
  |   + StateContractError
  + TraceError
  + CompileError
  + RunnerError
  |   + BackendMissingError
  + ComparisonError
  + RecordError
  + BundleError
  + HistoryError

Every message reads ``<where>: <what, with the value>; <what to do>``, and the cause is kept with
``raise ... from cause``. A wrong result is evidence in a record, never one of these.
"""


class PortingError(Exception):
    """The input cannot be ported as asked; the message says what to change."""


class UsageError(PortingError):
    """A command was asked for something that does not exist or does not fit together."""


class ConfigError(PortingError):
    """A model's config has a missing, unknown or impossible value."""


class ProfileError(PortingError):
    """A target's profile is not there, is not TOML, or has a missing or unknown key."""


class CheckpointError(PortingError):
    """A checkpoint is damaged, unsafe to open, or lacks the tensors that its family needs."""


class KernelError(PortingError):
    """A kernel file lacks one of its parts, or a part does not fit the others."""


class ProgramError(PortingError):
    """A frame program names what is not there, or joins tensors of other shapes or dtypes."""


class ExportError(PortingError):
    """A component cannot become an ONNX graph that computes what the module computes."""


class StateContractError(ExportError):
    """A module keeps, reads or draws something between calls that it does not declare as state."""


class TraceError(PortingError):
    """A recorded rollout is missing, empty, or does not fit the program that it should drive."""


class CompileError(PortingError):
    """A backend could not build an artifact from a component for this target and precision."""


class RunnerError(PortingError):
    """An artifact cannot be loaded, or was given buffers other than the ones it declares."""


class BackendMissingError(RunnerError):
    """A backend's runtime or its device is not on this host; what needs it is not measured here."""


class ComparisonError(PortingError):
    """Two sets of outputs cannot be compared at all: other names, shapes or dtypes."""


class RecordError(PortingError):
    """A record or baseline is not of a schema that this version reads."""


class BundleError(PortingError):
    """A bundle's file is missing, was changed after it was written, or lies outside the bundle."""


class HistoryError(PortingError):
    """A history of ports cannot be reached or read, or contradicts what should be added to it."""


class EmulationError(PortingError):
    """Compiled code cannot be executed, or does what no device would let it do unpunished."""
