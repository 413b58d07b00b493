"""What the paper venue decides: instruments, prices, books, replays. No I/O."""
