"""One script per rule of the workflow: options in, a call of the library `selfsv`, artifacts out."""
