"""How fast this machine trains and answers, beside the released schedule: `python -m benchmarks.step`."""
