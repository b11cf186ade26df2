"""The report of a run: one HTML file that stands alone, the first thing that a new user looks at."""

from undiffuse.reports.run_report import write_report

__all__ = ["write_report"]
