"""May the canary take requests? Contracts and answers in, a verdict with names and numbers out.

`contract.findings` compares what two revisions take and give, `compare.mismatch` an answer with the one expected,
and `judge.verification` says what follows. How the questions are asked is told in `runtime.verification`.
"""
