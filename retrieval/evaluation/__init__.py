"""How well scores of clips and tags fit the truth: measures, their uncertainty, and reports."""
