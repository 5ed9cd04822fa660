"""Recordings in NWB files: read real ones, say what a file offers, write virtual ones."""

from lrplan.nwb.inspect import inspect_nwb
from lrplan.nwb.read import read_nwb
from lrplan.nwb.write import write_nwb

__all__ = ["inspect_nwb", "read_nwb", "write_nwb"]
