"""Batches as slices, for everything that is computed piece by piece so that it fits in memory."""


def batches_of(count: int, size: int, first: int = 0) -> list[slice]:
    """Slices of at most `size` that together cover `first` ... `count - 1` in their order."""
    return [slice(start, min(start + size, count)) for start in range(first, count, size)]


def block_of(count: int, rank: int, world: int) -> slice:
    """The `rank`-th of `world` equal blocks of `count` images that follow one another."""
    return slice(rank * count // world, (rank + 1) * count // world)
