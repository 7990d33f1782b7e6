"""The subcommands of `selfsv`, a module each: its options and what it does."""
