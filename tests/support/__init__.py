"""What tests share: small networks, generated files, processes that are started and killed."""
