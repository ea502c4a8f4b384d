"""report.html, the page about a run, and its parts."""

from jaxgan.report.writing import REPORT_FILE, images_per_second, total_seconds, write

__all__ = ["REPORT_FILE", "images_per_second", "total_seconds", "write"]
