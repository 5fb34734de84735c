"""The gate in a process of its own, in front of other servers: `costobs-gate serve`. Needs the extra [proxy]."""
