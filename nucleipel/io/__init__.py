"""Everything that opens a file: manifests, slides, stores, instances, reports."""
