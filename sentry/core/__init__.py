"""What every layer of the kernel uses: waiting, timers, credentials, registration of system calls."""
