"""Figures and the page that shows an experiment."""
