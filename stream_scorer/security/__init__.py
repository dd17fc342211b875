"""What guards the process and proves what was done: so far, the audit log."""
