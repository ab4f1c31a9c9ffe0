"""One trace format a file; `FORMATS` lists them in the order in which they are tried on an unknown file."""

from __future__ import annotations

from wattlane.workload.formats import Format
from wattlane.workload.loaders import azure

FORMATS: tuple[Format, ...] = (azure.FORMAT,)
