"""relive records a Linux process tree once and replays it exactly.

This package's top level stays empty on purpose: `relive record` starts by
importing it, and start-up time is part of what recording costs.
"""

__version__ = "0.1.0"
