"""Where a model's or an adapter's files are on this node: fetched whole, verified, and only then used. No torch."""

from workers.modelfiles.contents import revision
from workers.modelfiles.fetch import locate
from workers.modelfiles.inspect import Finding, State, look, verify
from workers.modelfiles.layout import adapter_file, require_adapter, require_model, require_whole
from workers.modelfiles.progress import OnProgress, Progress, to_log
from workers.modelfiles.publish import push

__all__ = [
    "Finding",
    "OnProgress",
    "Progress",
    "State",
    "adapter_file",
    "locate",
    "look",
    "push",
    "require_adapter",
    "require_model",
    "require_whole",
    "revision",
    "to_log",
    "verify",
]
