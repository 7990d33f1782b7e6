"""Every setting, defined once: type, default, unit and source.

One module per group of stages, so that a stage depends on (and is rerun after a change of) its own settings only.
`experiment.py` puts them together for the Snakefile. Nothing here imports torch: the workflow reads it on a login node.

In the descriptions, [paper V-D] cites a section, equation or table of arXiv 2304.05754; [ours] marks a decision that
the paper leaves open.
"""
