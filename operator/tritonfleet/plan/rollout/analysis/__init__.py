"""Is the canary worse than the revision beside it? Counts in, a verdict with numbers out.

What is tested, why, and with which measured error rates: docs/explanation/canary-analysis.md.
`step.analyze` looks at one window during a step, `bake.bake` at one window after the last step.
"""
