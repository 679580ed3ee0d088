"""One task as its supervisor sees it: address space, signal dispositions, remote calls."""
