"""The `edge` commands of operators: provisioning, revocation, the report."""
