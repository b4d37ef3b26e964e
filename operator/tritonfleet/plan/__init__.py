"""Every decision, as a pure function of what was observed and the time.

`reconcile.reconcile(observed, now)` is the entry; `world` has its input and output. The other modules each answer one
question: which revisions exist (`revisions`), how many pods run (`scaling`), what pods say (`pods`), what changes at
once where no rollout is steered (`rolling_update`), what must be written (`writes`), what the status says (`status`,
`scaling_status`), and how a latency histogram is read (`histogram`). Of the packages, `objects` renders, `autoscale`
decides the number of replicas, and `rollout` carries a canary through.

The packages are imported as a whole; these modules are imported one by one, since the packages build on some of them
and others build on the packages.
"""
