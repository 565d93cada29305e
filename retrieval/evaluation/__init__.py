"""Evaluation of tag scores: scoring clips, measures, confidence intervals, reports."""
