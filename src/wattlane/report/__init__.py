"""Floor 6, tables, figures and pages, from result files only.

page(["run"], "run/report.html")            one self-contained page of one or several studies
figure("run", "frontier", "frontier.png")   one figure as a picture
"""

from __future__ import annotations

from wattlane.report.pages import figure, page

__all__ = ["figure", "page"]
