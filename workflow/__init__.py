"""The Snakefile's Python modules. A regular package: a folder `workflow` of a calling workflow cannot get in front of it."""
