"""What is acknowledged stays: real engines that are killed, filled up and given broken files."""
