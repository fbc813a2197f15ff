"""Where images come from: CelebA, folders and zips, models."""
