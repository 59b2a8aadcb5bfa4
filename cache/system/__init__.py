"""What every package needs of the machine: locks, streams, digests of files, the processor."""
