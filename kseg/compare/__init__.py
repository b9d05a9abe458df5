"""What kseg.compare is made of: the plan, its steps in processes of their own, and the table."""
