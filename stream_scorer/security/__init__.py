"""Protection of the process and its records: keys, signatures' JSON, and the audit log."""
