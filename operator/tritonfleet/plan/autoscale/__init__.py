"""From an SLO to replicas: what is seen becomes a demand, a learned capacity and one absolute number of pods.

The contract, formula by formula, is in docs/explanation/autoscaling.md; each module here is one of its paragraphs.
"""
