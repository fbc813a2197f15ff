"""A classifier of attributes, which tells what a generated face shows."""
