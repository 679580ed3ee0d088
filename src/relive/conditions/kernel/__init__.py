"""The kernel evaluator: conditions decided by BPF programs in the kernel."""
