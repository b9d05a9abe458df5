"""report.html: one or several runs on one page, measured, drawn, and held against each other."""
