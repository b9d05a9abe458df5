"""The command kseg.compare: the plan, its steps as child processes, the table and the chart."""
