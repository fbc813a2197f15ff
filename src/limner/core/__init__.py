"""What everything else stands on: errors, files, randomness, the console, pixels, devices and processes."""
