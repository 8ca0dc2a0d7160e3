"""From slides and stores to training samples: windows, patches, augmentation, generated slides."""
